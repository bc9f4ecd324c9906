#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <sstream>

#include "farfield/core/error.hpp"
#include "farfield/io/hdf5/product_parts.hpp"
#include "farfield/io/hdf5/quantity.hpp"
#include "farfield/io/xpcs/qmap_file.hpp"
#include "farfield/io/xpcs/result_file.hpp"
#include "farfield/io/xpcs/result_names.hpp"

namespace farfield::io::xpcs {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
const std::string kXpcs = "/xpcs/", kExchange = "/exchange/", kOurs = "/farfield";
constexpr Index kMostBytes = Index{16} << 30;

std::vector<std::string> axes_of(const std::string& text) {
  std::vector<std::string> axes;
  std::istringstream in(text);
  for (std::string axis; std::getline(in, axis, ',');) axes.push_back(axis);
  return axes;
}

class Reader {
public:
  explicit Reader(const hdf5::File& file) : file_(file) {}

  model::Product run() {
    p_.technique = "xpcs";
    p_.provenance["input"] = file_.name();
    read_ours();
    for (const auto& place : kPlaces) read_place(place);
    read_delays();
    read_c2();
    row_of(first({kXpcs + "temporal_mean/scattering_1d", kExchange + "partition-mean-total"}), 0, "saxs_1d", "static");
    const auto sums = first({kXpcs + "spatial_mean/intensity_vs_time", kExchange + "frameSum"});
    row_of(sums, 1, "frame_sum", "frame");
    row_of(sums, 0, "frame", "frame");
    read_unnormalized();
    read_qmap_group(file_, p_);
    read_times();
    check_ranks();
    add_q();
    check_extents();
    if (p_.verb.empty())
      p_.verb = p_.find("g2") != nullptr ? "correlate" : p_.find("c2_g2") != nullptr ? "twotime" : "saxs";
    return std::move(p_);
  }

private:
  std::optional<hdf5::Dataset> first(std::initializer_list<std::string> paths) const {
    for (const auto& path : paths)
      if (auto d = file_.find_dataset(path)) return d;
    return std::nullopt;
  }

  void add(const std::string& name, core::AnyArray array, const std::string& axes, const std::string& unit = "") {
    p_.datasets.push_back({name, std::move(array), unit, axes_of(axes)});
  }

  void read_place(const Place& place) {
    auto d = file_.find_dataset(kXpcs + place.path);
    if (!d && place.exchange != nullptr) d = file_.find_dataset(kExchange + place.exchange);
    if (!d) return;
    auto array = d->read(kMostBytes);
    auto shape = array.shape();
    while (static_cast<int>(shape.size()) > place.rank && shape.front() == 1) shape.erase(shape.begin());
    if (static_cast<int>(shape.size()) != place.rank)
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("an array of shape ({}) must be ({})", fmt::join(array.shape(), ", "), place.axes))
          .at(d->where());
    core::AnyArray shaped(array.dtype(), shape);
    std::copy_n(static_cast<const std::byte*>(array.data()), array.bytes(), static_cast<std::byte*>(shaped.data()));
    add(place.name, std::move(shaped), place.axes, file_.text_attribute(d->path(), "units").value_or(""));
  }

  double frames_per_step(const std::string& kind) const {
    double frames = 1;
    for (const auto& path : {kXpcs + kind + "/config/stride_frame", kXpcs + kind + "/config/avg_frame"})
      frames *= hdf5::number(file_, path).value_or(1);
    if (file_.has_dataset(kExchange + "tau") && !file_.has_dataset(kXpcs + "multitau/delay_list"))
      for (const auto& path : {kXpcs + "stride_frames", kXpcs + "avg_frames"})
        frames *= hdf5::number(file_, path).value_or(1);
    if (!(frames >= 1 && frames < 1e12))
      throw Error(ErrorCode::corrupt_data, fmt::format("{} frames per time step must be at least 1", frames))
          .at(file_.name());
    return frames;
  }

  void add_delays(const std::string& name, std::vector<double> delays, const std::string& kind) {
    const double frames = frames_per_step(kind);
    core::Array<double, 1> array({static_cast<Index>(delays.size())});
    std::transform(delays.begin(), delays.end(), array.begin(), [&](double v) { return v * frames; });
    add(name, core::AnyArray(array), "delay", "frames");
    p_.datasets.back().draw = "abscissa";
  }

  void read_delays() {
    const auto* g2 = p_.find("g2");
    if (g2 != nullptr)
      if (const auto d = first({kXpcs + "multitau/delay_list", kExchange + "tau"}))
        add_delays("delay", hdf5::numbers(*d), "multitau");
    const auto* c2 = p_.find("c2_g2");
    if (c2 == nullptr) return;
    const std::string name = p_.find("delay") == nullptr ? "delay" : "c2_delay";
    if (const auto d = file_.find_dataset(kXpcs + "twotime/delay_list"))
      return add_delays(name, hdf5::numbers(*d), "twotime");
    // The older layout has none: diagonals 0, 1, 2 ...
    std::vector<double> delays(static_cast<std::size_t>(c2->data.shape()[0]));
    for (std::size_t i = 0; i < delays.size(); ++i) delays[i] = static_cast<double>(i);
    add_delays(name, std::move(delays), "twotime");
  }

  /// The half that is stored, and its mirror image.
  void read_c2() {
    const auto read = [&](const std::string& group, const char* prefix) {
      for (const auto& name : file_.list(group)) {
        if (!name.starts_with(prefix)) continue;
        const std::string own = fmt::format("c2_{}", name.substr(3));
        if (p_.find(own) != nullptr) continue;
        const auto d = file_.dataset(group + "/" + name);
        const auto array = d.read(kMostBytes);
        if (array.rank() != 2 || array.shape()[0] != array.shape()[1])
          throw Error(ErrorCode::corrupt_data,
                      fmt::format("an array of shape ({}) must be square", fmt::join(array.shape(), ", ")))
              .at(d.where());
        auto c2 = array.to<float, 2>();
        bool half = true;
        for (Index y = 1; y < c2.extent(0) && half; ++y)
          half = std::all_of(&c2(y, 0), &c2(y, 0) + y, [](float v) { return v == 0; });
        for (Index y = 1; y < c2.extent(0) && half; ++y)
          for (Index x = 0; x < y; ++x) c2(y, x) = c2(x, y);
        add(own, core::AnyArray(c2), "t1,t2");
      }
    };
    read(kXpcs + "twotime/correlation_map", "c2_");
    read(kExchange + "C2T_all", "g2_");
  }

  void row_of(const std::optional<hdf5::Dataset>& d, Index row, const std::string& name, const std::string& axis) {
    if (!d) return;
    const auto values = hdf5::numbers(*d);
    const Index rows = d->rank() >= 2 ? d->shape()[d->shape().size() - 2] : 1;
    if (row >= rows || rows == 0) return;
    const auto length = values.size() / static_cast<std::size_t>(rows);
    const double* begin = values.data() + static_cast<std::size_t>(row) * length;
    add(name, core::AnyArray(core::View<const double, 1>(begin, {static_cast<Index>(length)})), axis,
        file_.text_attribute(d->path(), "units").value_or(""));
    if (name == "frame") p_.datasets.back().draw = "abscissa";
  }

  void read_unnormalized() {
    const auto d = file_.find_dataset(kXpcs + "multitau/unnormalized_G2");
    const std::string map_path = "/xpcs/qmap/dynamic_roi_map";
    if (!d || d->rank() != 4 || d->shape()[1] != 3 || !file_.has_dataset(map_path)) return;
    const auto map = file_.dataset(map_path).read(kMostBytes);
    const Index ny = d->shape()[2], nx = d->shape()[3];
    if (map.rank() != 2 || map.shape()[0] != ny || map.shape()[1] != nx)
      throw Error(ErrorCode::corrupt_data, fmt::format("sums of {} x {} pixels do not fit the q-map", ny, nx))
          .at(d->where());
    const auto bins = map.to<std::uint32_t, 2>();
    std::vector<std::uint32_t> pixels;
    for (Index i = 0; i < bins.size(); ++i)
      if (bins.data()[i] != 0) pixels.push_back(static_cast<std::uint32_t>(i));
    const auto slots = static_cast<Index>(pixels.size());
    core::AnyArray image(core::DType::f32, {ny, nx});
    constexpr const char* kNames[] = {"G2", "IP", "IF"};
    if (d->dtype() != core::DType::f32) return;
    for (Index which = 0; which < 3; ++which) {
      core::Array<float, 2> sums({d->shape()[0], slots});
      for (Index delay = 0; delay < sums.extent(0); ++delay) {
        d->read_box({delay, which, 0, 0}, {1, 1, ny, nx}, image.data());
        for (Index i = 0; i < slots; ++i)
          sums(delay, i) = static_cast<const float*>(image.data())[pixels[static_cast<std::size_t>(i)]];
      }
      add(kNames[which], core::AnyArray(sums), "delay,slot");
      p_.datasets.back().draw = "none";
    }
    add("pixel", core::AnyArray(core::View<const std::uint32_t, 1>(pixels.data(), {slots})), "slot");
    p_.datasets.back().draw = "none";
  }

  void read_times() {
    for (const auto& [metric, paths] :
         {std::pair{"frame_time_s", std::array{"/entry/instrument/detector_1/frame_time",
                                               "/measurement/instrument/detector/exposure_period"}},
          {"count_time_s",
           std::array{"/entry/instrument/detector_1/count_time", "/measurement/instrument/detector/exposure_time"}}})
      for (const char* path : paths)
        if (const auto v = hdf5::number(file_, path);
            v && *v > 0 && std::isfinite(*v) && file_.text_attribute(path, "units") != "frame")
          p_.metrics.try_emplace(metric, *v);
    const auto eV = hdf5::energy_eV(file_, "/entry/instrument/incident_beam/incident_energy", "keV");
    if (eV && std::isfinite(*eV)) p_.energy_eV = eV;
  }

  /// The first value of each dynamic bin, where the file says it and the product does not.
  void add_q() {
    if (p_.find("q") != nullptr) return;
    const auto* curves = p_.find("g2") != nullptr ? p_.find("g2") : p_.find("c2_g2");
    const auto* centres = p_.find("qmap/dynamic_v_list_dim0");
    if (curves == nullptr || centres == nullptr) return;
    const auto values = centres->data.to<double, 1>();
    const auto* across = p_.find("qmap/dynamic_v_list_dim1");
    const Index step = across == nullptr ? 1 : std::max<Index>(across->data.size(), 1);
    core::Array<double, 1> q({curves->data.shape().back()}, std::numeric_limits<double>::quiet_NaN());
    const auto* mapping = p_.find("qmap/dynamic_index_mapping");
    const auto flat = mapping == nullptr ? core::Array<double, 1>() : mapping->data.to<double, 1>();
    for (Index i = 0; i < q.size(); ++i) {
      const double at = flat.empty() ? static_cast<double>(i) : i < flat.size() ? flat[i] : -1;
      const double row = std::floor(at / static_cast<double>(step));
      if (row >= 0 && row < static_cast<double>(values.size())) q[i] = values[static_cast<Index>(row)];
    }
    add("q", core::AnyArray(q), "q");
    const auto units = p_.provenance.find("qmap/map_units");
    if (units != p_.provenance.end()) p_.datasets.back().unit = units->second.substr(0, units->second.find(','));
  }

  void read_ours() {
    if (!file_.has_dataset(kOurs + "/technique")) return;
    p_.technique = file_.dataset(kOurs + "/technique").text();
    if (const auto verb = hdf5::text(file_, kOurs + "/verb")) p_.verb = *verb;
    for (const auto& name : file_.list(kOurs + "/datasets")) {
      const std::string at = fmt::format("{}/datasets/{}", kOurs, name);
      p_.datasets.push_back(hdf5::read_dataset(file_, at, name));
      p_.datasets.back().draw = file_.text_attribute(at, "draw").value_or("");
    }
    for (const auto& name : file_.list(kOurs + "/metrics"))
      p_.metrics[name] = file_.dataset(fmt::format("{}/metrics/{}", kOurs, name)).number();
    if (const auto names = file_.find_dataset(kOurs + "/provenance/names")) {
      const auto keys = names->texts();
      for (std::size_t i = 0; i < keys.size(); ++i)
        if (const auto text = hdf5::text(file_, fmt::format("{}/provenance/{:03}", kOurs, i)))
          p_.provenance[keys[i]] = *text;
    }
  }

  /// Datasets of our own group may have taken a name of the layout.
  void check_ranks() {
    const auto check = [&](const model::Dataset& d, int rank) {
      if (d.data.rank() != rank)
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("{} of rank {} must have rank {}", d.name, d.data.rank(), rank))
            .at(file_.name());
    };
    for (const auto& d : p_.datasets) {
      for (const auto& place : kPlaces)
        if (d.name == place.name) check(d, place.rank);
      for (const char* name : {"delay", "c2_delay", "q", "frame", "frame_sum", "saxs_1d"})
        if (d.name == name) check(d, 1);
    }
  }

  void check_extents() {
    const auto* delay = p_.find("delay");
    const auto fits = [&](const char* name, std::size_t axis, Index extent, const char* what) {
      const auto* d = p_.find(name);
      if (d != nullptr && d->data.shape()[axis] != extent)
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("{} has {} {} where there must be {}", name, d->data.shape()[axis], what, extent))
            .at(file_.name());
    };
    if (const auto* g2 = p_.find("g2")) {
      const Index delays = g2->data.shape()[0], bins = g2->data.shape()[1];
      if (delay == nullptr || delay->data.size() != delays)
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("g2 has {} delays, the list {}", delays, delay == nullptr ? 0 : delay->data.size()))
            .at(file_.name());
      fits("g2_error", 0, delays, "delays");
      fits("g2_error", 1, bins, "bins");
      fits("g2_partial", 1, delays, "delays");
      fits("g2_partial", 2, bins, "bins");
    }
  }

  const hdf5::File& file_;
  model::Product p_;
};
}  // namespace

bool is_result(const hdf5::File& file) {
  for (const char* path : {"/xpcs/multitau/normalized_g2", "/exchange/norm-0-g2", "/xpcs/twotime/normalized_g2",
                           "/exchange/g2full", "/xpcs/temporal_mean/scattering_1d", "/exchange/partition-mean-total"})
    if (file.has_dataset(path)) return true;
  return false;
}

model::Product read_result(const hdf5::File& file) { return Reader(file).run(); }

}  // namespace farfield::io::xpcs
