#include "farfield/pipeline/result_folder.hpp"

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/metrics_json.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/pipeline/draw.hpp"

namespace farfield::pipeline {

namespace fs = std::filesystem;

ResultFolder::ResultFolder(fs::path path) : path_(std::move(path)) {
  const auto ending = path_.extension();
  if (ending == ".h5" || ending == ".hdf" || ending == ".hdf5") {
    result_ = path_;
    path_.replace_extension();
  }
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) throw core::Error(core::ErrorCode::io, "folder cannot be made: " + error.message()).at(path_.string());
  io::AtomicFile probe(path_ / "writable");  // removed again: never committed
}

std::vector<fs::path> ResultFolder::write_pictures(const model::Product& product, const std::string& prefix) const {
  std::vector<fs::path> written;
  for (const auto& picture : draw(product)) {
    written.push_back(path_ / (prefix + picture.name));
    io::write_atomic(written.back(), picture.bytes);
  }
  return written;
}

std::vector<fs::path> ResultFolder::write(const model::Product& product, const FrameTotals* frames) const {
  auto written = write_pictures(product, "");
  if (frames != nullptr) {
    written.push_back(path_ / "frames.json");
    io::write_atomic(written.back(), to_json(*frames));
  }
  written.push_back(path_ / "metrics.json");
  io::write_atomic(written.back(), io::metrics_json(product));
  written.push_back(result_.empty() ? path_ / io::result_name(product) : result_);
  io::write_product(written.back(), product);
  return written;
}

void PreviewFolder::show(const model::Product& product, std::int64_t /*iteration*/) {
  if (write_) written_ = folder_.write_pictures(product, "preview_");
}

void PreviewFolder::clear() {
  for (const auto& path : written_) {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
  written_.clear();
}

}  // namespace farfield::pipeline
