#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <tuple>

#include "farfield/io/cxi/layout.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/imm/imm.hpp"
#include "farfield/io/nexus/nexus.hpp"
#include "farfield/io/npz/scan.hpp"
#include "farfield/io/ptyd/ptyd.hpp"
#include "farfield/io/recipe/recipe.hpp"
#include "farfield/io/rigaku/rigaku.hpp"
#include "farfield/io/scan_file.hpp"
#include "farfield/io/sparse_frames.hpp"
#include "farfield/io/stack_source.hpp"
#include "farfield/io/system_error.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;

namespace {
std::string beginning(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw Error(ErrorCode::io, fmt::format("cannot read {}: it is a folder", path.string()));
  std::ifstream in(path, std::ios::binary);
  if (!in) throw system_error(errno, "cannot read " + path.string());
  std::string head(8, '\0');
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<std::size_t>(in.gcount()));
  return head;
}

// The most specific layout first: names that only one program uses, then recipes, then NeXus at large.
ScanLayout layout_of(const hdf5::File& file) {
  if (cxi::is_cxi(file)) return cxi::read_layout(file, cxi::scan_entry(file));
  if (ptyd::is_ptyd(file)) return ptyd::read_layout(file);
  if (const auto recipes = recipe::fitting(file); !recipes.empty()) return recipe::read_layout(file, recipes.front());
  if (nexus::is_nexus(file)) return nexus::read_layout(file);
  throw Error(
      ErrorCode::unsupported,
      fmt::format(
          "this HDF5 file has no layout that is known; name a recipe, one of {} or one of your own. The file holds: {}",
          fmt::join(recipe_names(), ", "), fmt::join(file.datasets("/", 8), ", ")))
      .at(file.name());
}

std::string checksum_of(const std::filesystem::path& path, const OpenOptions& options) {
  return options.checksum ? file_checksum(path) : "";
}

// Formats without a mark of their own, told by whether their first records make sense.
std::unique_ptr<model::FrameSource> open_events(const std::filesystem::path& path, const OpenOptions& options) {
  const std::string name = path.string();
  if (imm::is_imm(*file_bytes(path))) return imm::open(file_bytes(path), name, checksum_of(path, options), options);
  if (rigaku::is_rigaku(path, options)) return rigaku::open(path, options);
  throw Error(ErrorCode::unsupported,
              fmt::format("{} is none of the formats that are read: HDF5 (CXI, NeXus, ptyd), npz, npz.bz2, IMM, events "
                          "of a Rigaku detector",
                          name));
}

std::unique_ptr<model::FrameSource> open_file(const std::filesystem::path& path, const OpenOptions& options) {
  const std::string head = beginning(path), name = path.string();
  if (head.empty()) throw Error(ErrorCode::corrupt_data, fmt::format("{} is empty", name));
  if (!options.recipe.empty() && !hdf5::File::is_hdf5(path))
    throw Error(ErrorCode::invalid_argument, fmt::format("{} is not an HDF5 file; recipes are for HDF5 files", name));
  if (head.starts_with("PK\x03\x04") || head.starts_with("BZh"))
    return npz::open_tike(npz::Npz::open(path), checksum_of(path, options), options);
  if (!hdf5::File::is_hdf5(path)) return open_events(path, options);
  const auto file = hdf5::File::open(path);
  ScanLayout layout =
      options.recipe.empty() ? layout_of(file) : recipe::read_layout(file, recipe::load(options.recipe));
  layout.acquisition.source = name;
  layout.acquisition.checksum = checksum_of(path, options);
  return make_source(std::move(layout), name, options);
}

// A source with more said of it than its own files do.
class Described final : public model::FrameSource, public SparseFrames {
public:
  Described(std::unique_ptr<model::FrameSource> source, model::Acquisition acquisition)
      : source_(std::move(source)), acquisition_(std::move(acquisition)) {}
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool make_sparse() override { return io::make_sparse(*source_); }
  bool next(std::stop_token stop, const std::function<void(const model::FrameBatch&)>& take) override {
    return source_->next(std::move(stop), take);
  }

private:
  std::unique_ptr<model::FrameSource> source_;
  model::Acquisition acquisition_;
};
}  // namespace

std::unique_ptr<model::FrameSource> open_scan(const std::filesystem::path& path, const OpenOptions& options) {
  if (options.batch_bytes < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("batch of {} bytes must be at least 1", options.batch_bytes));
  if ((options.frame_ny > 0) != (options.frame_nx > 0) || options.frame_ny < 0 || options.frame_nx < 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("frame shape {} x {} must have two extents > 0", options.frame_ny, options.frame_nx));
  OpenOptions shaped = options;
  model::Acquisition map;
  if (!options.qmap.empty()) {
    xpcs::read_qmap(options.qmap, map);
    const auto& shape = map.inputs.at("qmap/dynamic_roi_map").shape();
    if (options.frame_ny == 0) std::tie(shaped.frame_ny, shaped.frame_nx) = std::pair{shape[0], shape[1]};
  }
  auto source = open_file(path, shaped);
  if (options.qmap.empty() && options.metadata.empty()) return source;

  // The scan's own words win, then the metadata, then the map.
  auto acquisition = source->acquisition().clone();
  if (!options.metadata.empty()) xpcs::read_metadata(options.metadata, acquisition);
  if (!options.qmap.empty()) {
    const auto& shape = map.inputs.at("qmap/dynamic_roi_map").shape();
    const auto& d = acquisition.detector;
    if (shape[0] != d.ny || shape[1] != d.nx)
      throw Error(ErrorCode::invalid_argument, fmt::format("the q-map of {} x {} pixels does not fit frames of {} x {}",
                                                           shape[0], shape[1], d.ny, d.nx))
          .at(options.qmap);
    xpcs::read_qmap(options.qmap, acquisition);
  }
  model::validate(acquisition, path.string());
  return std::make_unique<Described>(std::move(source), std::move(acquisition));
}

}  // namespace farfield::io
