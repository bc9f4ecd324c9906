#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <future>
#include <optional>

#include "farfield/core/error.hpp"
#include "farfield/core/options.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/hdf5/product_parts.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/io/xpcs/result_file.hpp"
#include "farfield/io/xpcs/result_names.hpp"

namespace farfield::io::xpcs {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
const std::string kXpcs = "/xpcs/", kExchange = "/exchange/", kOurs = "/farfield";

constexpr Index kChunkEdge = 256;

/// A matrix that is there.
class MatrixRows final : public model::RowSource {
public:
  explicit MatrixRows(const core::AnyArray& matrix) : matrix_(matrix.to<float, 2>()), shape_(matrix.shape()) {}
  core::DType dtype() const override { return core::DType::f32; }
  const std::vector<Index>& shape() const override { return shape_; }
  void read(Index first, Index count, void* out) const override {
    std::memcpy(out, matrix_.data() + first * shape_[1], static_cast<std::size_t>(count * shape_[1]) * sizeof(float));
  }

private:
  core::Array<float, 2> matrix_;
  std::vector<Index> shape_;
};

class Writer {
public:
  Writer(hdf5::File& file, const model::Product& product) : file_(file), p_(product) {
    const auto found = p_.provenance.find("options");
    if (found != p_.provenance.end()) options_ = core::options_from_json(found->second);
  }

  void run() {
    for (const auto& place : kPlaces) write_place(place);
    write_delays();
    write_c2();
    write_static_mean();
    write_frame_sum();
    write_unnormalized();
    write_config();
    write_entry();
    if (p_.find("qmap/dynamic_roi_map") != nullptr) {
      write_qmap_group(file_, "/xpcs/qmap", p_);
      file_.link("/xpcs/qmap/dynamic_roi_map", "/xpcs/dqmap");
      file_.link("/xpcs/qmap/static_roi_map", "/xpcs/sqmap");
    }
    write_ours();
  }

private:
  const model::Dataset* find(const std::string& name, int rank) {
    const auto* d = p_.find(name);
    if (d == nullptr || d->data.empty()) return nullptr;
    if (d->data.rank() != rank)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("dataset {} of rank {} must have rank {}", name, d->data.rank(), rank))
          .at(file_.name());
    written_.push_back(name);
    return d;
  }

  void write(const std::string& path, const model::Dataset& like, core::AnyArray array) {
    hdf5::write_dataset(file_, path, {like.name, std::move(array), like.unit, {}, like.help});
  }

  void write_place(const Place& place) {
    const auto* d = find(place.name, place.rank);
    if (d == nullptr) return;
    write(kXpcs + place.path, *d, d->data);
    if (place.exchange != nullptr) file_.link(kXpcs + place.path, kExchange + place.exchange);
  }

  /// Frames of the input per step of the delay list: readers multiply by these again.
  double frames_per_step() const { return option("stride") * option("average"); }
  double option(const char* name) const {
    const auto found = options_.find(name);
    if (found == options_.end()) return 1;
    if (const auto* whole = std::get_if<std::int64_t>(&found->second)) return static_cast<double>(*whole);
    if (const auto* real = std::get_if<double>(&found->second)) return *real;
    return 1;
  }

  void write_delays() {
    const auto* d = find("delay", 1);
    if (d == nullptr) return;
    auto delays = d->data.to<double, 1>();
    for (double& v : delays) v /= frames_per_step();
    if (p_.find("g2") != nullptr) {
      write(kXpcs + "multitau/delay_list", *d, core::AnyArray(delays));
      core::Array<double, 2> row({1, delays.size()});
      std::copy(delays.begin(), delays.end(), row.begin());
      write(kExchange + "tau", *d, core::AnyArray(row));
    }
    if (p_.find("c2_g2") != nullptr) write(kXpcs + "twotime/delay_list", *d, core::AnyArray(delays));
  }

  /// Half of each map, as readers of the layout expect; they add the other.
  void write_c2() {
    for (const auto& d : p_.datasets) {
      if (!d.name.starts_with("c2_0") || (d.rows == nullptr && find(d.name, 2) == nullptr)) continue;
      std::optional<MatrixRows> whole;
      if (d.rows == nullptr) whole.emplace(d.data);
      const model::RowSource& c2 = d.rows != nullptr ? *d.rows : *whole;
      if (c2.dtype() != core::DType::f32 || c2.shape().size() != 2 || c2.shape()[0] != c2.shape()[1])
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{} of shape ({}) must be a square of f32", d.name, fmt::join(c2.shape(), ", ")))
            .at(file_.name());
      if (d.rows != nullptr) written_.push_back(d.name);
      write_half(fmt::format("{}twotime/correlation_map/{}", kXpcs, d.name), c2);
    }
    for (const auto& name : file_.list(kXpcs + "twotime/correlation_map"))
      if (name.starts_with("c2_"))
        file_.link(fmt::format("{}twotime/correlation_map/{}", kXpcs, name),
                   fmt::format("{}C2T_all/g2_{}", kExchange, name.substr(3)));
  }

  /// Square chunks; those before the diagonal are never written and read as 0. One thread compresses and writes while
  /// this one gets the next rows.
  void write_half(const std::string& path, const model::RowSource& c2) {
    const Index n = c2.shape()[0], edge = std::min<Index>(n, kChunkEdge);
    auto dataset = file_.create_dataset(path, core::DType::f32, {n, n}, hdf5::packed_storage({edge, edge}));
    core::Array<float, 2> stripes[2] = {core::Array<float, 2>({edge, n}), core::Array<float, 2>({edge, n})};
    core::Array<float, 2> square({edge, edge});
    const auto write_stripe = [&](const core::Array<float, 2>& stripe, Index y0) {
      for (Index x0 = y0; x0 < n; x0 += edge) {
        square.fill(0);
        for (Index y = y0; y < std::min(y0 + edge, n); ++y) {
          const Index x = std::max(x0, y), end = std::min(x0 + edge, n);
          if (x < end) std::copy_n(&stripe(y - y0, 0) + x, end - x, &square(y - y0, 0) + (x - x0));
        }
        dataset.write_chunk({y0, x0}, hdf5::pack_chunk(std::as_bytes(std::span(square.begin(), square.end())),
                                                       static_cast<Index>(sizeof(float))));
      }
    };
    std::future<void> writing;  // after what it uses: its end waits
    for (Index y0 = 0; y0 < n; y0 += edge) {
      auto& stripe = stripes[y0 / edge % 2];
      c2.read(y0, std::min(edge, n - y0), stripe.data());
      if (writing.valid()) writing.get();
      writing = std::async(std::launch::async, write_stripe, std::cref(stripe), y0);
    }
    if (writing.valid()) writing.get();
  }

  void write_static_mean() {
    const auto* d = find("saxs_1d", 1);
    if (d == nullptr) return;
    const auto mean = d->data.to<double, 1>();
    core::Array<double, 2> row({1, mean.size()});
    std::copy(mean.begin(), mean.end(), row.begin());
    write(kXpcs + "temporal_mean/scattering_1d", *d, core::AnyArray(row));
    file_.link(kXpcs + "temporal_mean/scattering_1d", kExchange + "partition-mean-total");
  }

  /// Frame numbers and their mean counts, one row each.
  void write_frame_sum() {
    const auto* d = find("frame_sum", 1);
    const auto* frames = p_.find("frame");
    if (d == nullptr) return;
    const auto sums = d->data.to<double, 1>();
    core::Array<double, 2> rows({2, sums.size()});
    for (Index i = 0; i < sums.size(); ++i) rows(0, i) = static_cast<double>(i);
    if (frames != nullptr && frames->data.rank() == 1 && frames->data.size() == sums.size()) {
      const auto ids = frames->data.to<double, 1>();
      std::copy(ids.begin(), ids.end(), rows.begin());
      written_.emplace_back("frame");
    }
    std::copy(sums.begin(), sums.end(), rows.begin() + sums.size());
    write(kXpcs + "spatial_mean/intensity_vs_time", *d, core::AnyArray(rows));
    file_.link(kXpcs + "spatial_mean/intensity_vs_time", kExchange + "frameSum");
  }

  /// (delay, [G2, IP, IF], y, x): the sums of each pixel back in their places, 0 where no pixel is used.
  void write_unnormalized() {
    const auto* pixel = p_.find("pixel");
    const auto* map = p_.find("qmap/dynamic_roi_map");
    if (pixel == nullptr || map == nullptr || map->data.rank() != 2 || p_.find("G2") == nullptr) return;
    const auto pixels = pixel->data.to<std::uint32_t, 1>();
    const Index ny = map->data.shape()[0], nx = map->data.shape()[1], size = ny * nx;
    hdf5::Dataset out;
    constexpr const char* kNames[] = {"G2", "IP", "IF"};
    core::AnyArray image(core::DType::f32, {1, 1, ny, nx});
    for (Index which = 0; which < 3; ++which) {
      const auto* d = find(kNames[which], 2);
      if (d == nullptr || d->data.shape()[1] != pixels.size())
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{} must be there with {} pixels", kNames[which], pixels.size()))
            .at(file_.name());
      const auto sums = d->data.to<float, 2>();
      if (which == 0)
        out = file_.create_dataset(kXpcs + "multitau/unnormalized_G2", core::DType::f32, {sums.extent(0), 3, ny, nx},
                                   {{1, 1, ny, nx}, {}, {{hdf5::kShuffle, {}}, {hdf5::kDeflate, {1}}}});
      for (Index delay = 0; delay < sums.extent(0); ++delay) {
        auto* values = static_cast<float*>(image.data());
        std::fill_n(values, size, 0.0F);
        for (Index i = 0; i < pixels.size(); ++i)
          if (pixels[i] < static_cast<std::uint64_t>(size)) values[pixels[i]] = sums(delay, i);
        out.write_box({delay, which, 0, 0}, {1, 1, ny, nx}, image.data());
      }
    }
    written_.emplace_back("pixel");
  }

  void write_config() {
    for (const char* kind : {"multitau", "twotime"}) {
      const std::string group = kXpcs + kind;
      if (file_.kind(group) != hdf5::Kind::group) continue;
      file_.make_group(group + "/config");
      file_.write_number(group + "/config/stride_frame", option("stride"));
      file_.write_number(group + "/config/avg_frame", option("average"));
      for (const auto& [option, value] : options_) {
        std::string name = option;
        std::replace(name.begin(), name.end(), '-', '_');
        if (name.find('/') == std::string::npos)
          file_.write_text(fmt::format("{}/config/{}", group, name), core::to_text(value));
      }
    }
  }

  void write_entry() {
    file_.make_group("/entry");
    file_.set_attribute("/entry", "NX_class", std::string("NXentry"));
    const std::string detector = "/entry/instrument/detector_1", beam = "/entry/instrument/incident_beam";
    // Readers tell the layout by this group.
    file_.make_group("/entry/instrument/bluesky/metadata");
    const auto number = [&](const std::string& path, double value, const std::string& unit) {
      file_.write_number(path, value);
      file_.set_attribute(path, "units", unit);
    };
    const auto known = p_.metrics.find("frame_time_s");
    const bool timed = known != p_.metrics.end() && known->second > 0;
    number(detector + "/frame_time", timed ? known->second : 1.0, timed ? "s" : "frame");
    const auto counted = p_.metrics.find("count_time_s");
    const bool has_count_time = counted != p_.metrics.end() && counted->second > 0;
    number(detector + "/count_time",
           has_count_time ? counted->second
           : timed        ? known->second
                          : 1.0,
           timed || has_count_time ? "s" : "frame");
    const auto geometry = [&](const char* name) {
      const auto* d = p_.find(std::string("qmap/") + name);
      return d == nullptr || d->data.size() != 1 ? std::nan("") : d->data.to<double, 1>()[0];
    };
    number(beam + "/incident_energy", p_.energy_eV ? *p_.energy_eV / 1000 : geometry("energy"), "keV");
    number(detector + "/distance", geometry("detector_distance"), "m");
    number(detector + "/x_pixel_size", geometry("pixel_size"), "m");
    number(detector + "/y_pixel_size", geometry("pixel_size"), "m");
    file_.set_attribute("/entry/instrument", "NX_class", std::string("NXinstrument"));
    file_.set_attribute(detector, "NX_class", std::string("NXdetector"));
    for (const char* key : {"start_time", "created"})
      if (const auto time = p_.provenance.find(key); time != p_.provenance.end()) {
        file_.write_text("/entry/start_time", time->second);
        return;
      }
    file_.write_text("/entry/start_time", "unknown");
  }

  void write_ours() {
    file_.make_group(kOurs);
    file_.write_text(kOurs + "/technique", p_.technique);
    file_.write_text(kOurs + "/verb", p_.verb);
    for (const auto& d : p_.datasets) {
      if (d.name.starts_with("qmap/") || std::find(written_.begin(), written_.end(), d.name) != written_.end())
        continue;
      hdf5::check_name(d.name, "dataset");
      const std::string at = fmt::format("{}/datasets/{}", kOurs, d.name);
      hdf5::write_dataset(file_, at, d);
      if (!d.draw.empty()) file_.set_attribute(at, "draw", d.draw);
    }
    for (const auto& [name, value] : p_.metrics) {
      hdf5::check_name(name, "metric");
      file_.write_number(fmt::format("{}/metrics/{}", kOurs, name), value);
    }
    // Names of provenance may hold slashes (those of the q-map do): pairs, not paths.
    std::vector<std::string> keys;
    for (const auto& [name, text] : p_.provenance) {
      file_.write_text(fmt::format("{}/provenance/{:03}", kOurs, keys.size()), text);
      keys.push_back(name);
    }
    if (!keys.empty()) file_.write_texts(kOurs + "/provenance/names", keys);
  }

  hdf5::File& file_;
  const model::Product& p_;
  core::OptionValues options_;
  std::vector<std::string> written_;
};
}  // namespace

void write_result(hdf5::File& file, const model::Product& product) { Writer(file, product).run(); }

void write_result(const std::filesystem::path& path, const model::Product& product) {
  AtomicFile target(path);
  {
    auto file = hdf5::File::create(target.temporary(), path);
    write_result(file, product);
    file.close();
  }
  target.commit();
}

}  // namespace farfield::io::xpcs
