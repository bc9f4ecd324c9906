#include "farfield/io/convert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "farfield/core/error.hpp"
#include "farfield/core/log.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/bytes.hpp"
#include "farfield/io/cxi/product.hpp"
#include "farfield/io/hdf5/product_parts.hpp"
#include "farfield/io/npz/npy.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/io/tiff.hpp"

namespace farfield::io {

using core::Error;
using core::ErrorCode;
using core::Index;

namespace {
std::span<const std::byte> bytes_of(const core::AnyArray& array) {
  return {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.bytes())};
}

// The image with its zero frequency in the corner taken to the centre, or the reverse.
core::AnyArray shifted(const core::AnyImage& image, model::DcLocation from, model::DcLocation to) {
  core::AnyArray out(image.dtype, {image.ny, image.nx});
  const Index item = core::item_size(image.dtype);
  // Centre is index n / 2. A rotation by s sends index i to (i + s) mod n.
  const auto shift = [&](Index n) {
    return from == to ? Index{0} : to == model::DcLocation::centre ? n / 2 : n - n / 2;
  };
  const Index sy = shift(image.ny), sx = shift(image.nx);
  const auto* in = static_cast<const std::byte*>(image.data);
  auto* to_bytes = static_cast<std::byte*>(out.data());
  for (Index y = 0; y < image.ny; ++y) {
    const std::byte* row = in + y * image.row_stride * item;
    std::byte* target = to_bytes + (y + sy) % image.ny * image.nx * item;
    std::memcpy(target + sx * item, row, static_cast<std::size_t>((image.nx - sx) * item));
    std::memcpy(target, row + (image.nx - sx) * item, static_cast<std::size_t>(sx * item));
  }
  return out;
}

struct Pair {
  double y = 0, x = 0;
};

std::optional<Pair> position_in(const model::Values& v, const char* y, const char* x) {
  const auto fy = v.find(y), fx = v.find(x);
  if (fy == v.end() || fx == v.end()) return std::nullopt;
  return Pair{fy->second, fx->second};
}

// Pixel of the object in far field: wavelength * distance / (pixels * detector pixel).
std::optional<Pair> object_pixel(const model::Acquisition& a) {
  const auto& d = a.detector;
  if (!a.beam.energy_eV || !d.distance_m || !d.pixel_size_y_m || !d.pixel_size_x_m) return std::nullopt;
  const double product = *a.beam.wavelength_m() * *d.distance_m;
  return Pair{product / (static_cast<double>(d.ny) * *d.pixel_size_y_m),
              product / (static_cast<double>(d.nx) * *d.pixel_size_x_m)};
}

// A sparse frame as an image in `counts`. Throws `corrupt_data` for a sum that u32 does not hold.
model::FrameView dense(const model::FrameView& frame, core::Array<std::uint32_t, 2>& counts,
                       const std::string& source) {
  counts.fill(0);
  for (const auto& e : frame.sparse.events)
    if (__builtin_add_overflow(counts.data()[e.pixel], e.count, &counts.data()[e.pixel]))
      throw Error(ErrorCode::corrupt_data, fmt::format("pixel {} of frame {} counts 2^32 or more", e.pixel, frame.id))
          .at(source);
  return {frame.id, core::AnyImage::of<std::uint32_t>(counts.view())};
}

// Calls `take` for every batch, with dense frames; frames that cannot be read are said.
void for_each_batch(model::FrameSource& source, std::stop_token stop, bool all_needed,
                    const std::function<void(const model::FrameBatch&)>& take) {
  const auto& a = source.acquisition();
  core::Array<std::uint32_t, 2> counts;
  const auto guarded = [&](const model::FrameBatch& batch) {
    for (const auto& [id, reason] : batch.bad) {
      if (all_needed)
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("frame {} cannot be read, and this format holds no gaps: {}", id, reason))
            .at(a.source);
      core::log(core::LogLevel::warning, "frame_left_out",
                {{"frame", std::to_string(id)}, {"reason", reason}, {"source", a.source}});
    }
    if (std::none_of(batch.frames.begin(), batch.frames.end(), [](const auto& f) { return f.is_sparse(); }))
      return take(batch);
    // One at a time: a few sparse frames can be much memory as images.
    if (counts.empty()) counts = core::Array<std::uint32_t, 2>({a.detector.ny, a.detector.nx});
    for (const auto& f : batch.frames) {
      model::FrameBatch one{{f.is_sparse() ? dense(f, counts, a.source) : f}, {}, {}};
      std::copy_if(batch.values.begin(), batch.values.end(), std::back_inserter(one.values),
                   [&](const auto& v) { return v.first == f.id; });
      take(one);
    }
  };
  while (source.next(stop, guarded)) {}
  if (stop.stop_requested()) throw Error(ErrorCode::cancelled, "conversion stopped").at(a.source);
}

void to_cxi(model::FrameSource& source, const std::filesystem::path& to, std::stop_token stop) {
  ScanWriter writer(to, source.acquisition(), source.acquisition().scan.expected_frames);
  for_each_batch(source, stop, false,
                 [&](const model::FrameBatch& batch) { writer.append(batch.frames, batch.values); });
  writer.commit();
}

void put(npz::ZipWriter& zip, const std::string& name, const core::AnyArray& array) {
  zip.begin(name + ".npy");
  zip.write(npz::npy_header(array.dtype(), array.shape()));
  zip.write(bytes_of(array));
  zip.end();
}

void to_tike(model::FrameSource& source, const std::filesystem::path& to, std::stop_token stop) {
  const auto& a = source.acquisition();
  const auto& d = a.detector;
  const auto pixel = object_pixel(a);
  if (a.scan.unit == model::PositionUnit::metres && !pixel)
    throw Error(ErrorCode::invalid_argument,
                "tike's npz holds positions in pixels; the scan has them in metres and does not record energy, "
                "distance and pixel size, so that they cannot be converted")
        .at(a.source);
  if (a.scan.expected_frames < 1)
    throw Error(ErrorCode::unsupported, "the number of frames must be known before a npz is written").at(a.source);
  AtomicFile file(to);
  npz::ZipWriter zip(file);
  zip.begin("data.npy");
  zip.write(npz::npy_header(d.dtype, {1, a.scan.expected_frames, d.ny, d.nx}));
  std::vector<float> scan;
  Index frames = 0;
  for_each_batch(source, stop, true, [&](const model::FrameBatch& batch) {
    std::map<model::FrameId, const model::Values*> values;
    for (const auto& [id, v] : batch.values) values[id] = &v;
    for (const auto& f : batch.frames) {
      zip.write(bytes_of(shifted(f.image, d.dc, model::DcLocation::corner)));
      const auto found = values.find(f.id);
      auto p = found == values.end() ? std::nullopt : position_in(*found->second, "y_px", "x_px");
      if (found != values.end() && !p)
        if ((p = position_in(*found->second, "y_m", "x_m"))) *p = {p->y / pixel->y, p->x / pixel->x};
      if (!p)
        throw Error(ErrorCode::invalid_argument, fmt::format("frame {} has no position, which tike's npz needs", f.id))
            .at(a.source);
      scan.push_back(static_cast<float>(p->y));
      scan.push_back(static_cast<float>(p->x));
      ++frames;
    }
  });
  if (frames != a.scan.expected_frames)
    throw Error(ErrorCode::corrupt_data, fmt::format("{} of {} frames came", frames, a.scan.expected_frames))
        .at(a.source);
  zip.end();
  put(zip, "scan", core::AnyArray(core::View<const float, 3>(scan.data(), {1, frames, 2})));
  for (const auto& [role, array] : a.inputs) {
    if (role == "probe" && array.rank() == 3) {
      core::AnyArray probe(array.dtype(), {1, 1, 1, array.shape()[0], array.shape()[1], array.shape()[2]});
      std::memcpy(probe.data(), array.data(), static_cast<std::size_t>(array.bytes()));
      put(zip, role, probe);
    } else if (role == "background" && array.rank() == 2) {
      put(zip, role,
          shifted({array.dtype(), array.data(), array.shape()[0], array.shape()[1], array.shape()[1]}, d.dc,
                  model::DcLocation::corner));
    } else {
      put(zip, role, array);
    }
  }
  if (!d.pixel_mask.empty())
    put(zip, "mask", shifted(core::AnyImage::of(d.pixel_mask.view()), d.dc, model::DcLocation::corner));
  zip.finish();
  file.commit();
}

void to_ptyd(model::FrameSource& source, const std::filesystem::path& to, std::stop_token stop) {
  const auto& a = source.acquisition();
  const auto& d = a.detector;
  if (a.scan.unit != model::PositionUnit::metres)
    throw Error(ErrorCode::invalid_argument, "ptyd holds positions in metres, which the scan does not record")
        .at(a.source);
  AtomicFile target(to);
  {
    auto file = hdf5::File::create(target.temporary(), to);
    core::AnyArray weights(core::DType::f32, {d.ny, d.nx});
    if (!d.pixel_mask.empty()) {
      const auto mask = shifted(core::AnyImage::of(d.pixel_mask.view()), d.dc, model::DcLocation::centre);
      for (Index i = 0; i < mask.size(); ++i)
        static_cast<float*>(weights.data())[i] = static_cast<const std::uint32_t*>(mask.data())[i] == 0 ? 1.0F : 0.0F;
    }
    Index chunk = 0, frames = 0;
    for_each_batch(source, stop, false, [&](const model::FrameBatch& batch) {
      const auto n = static_cast<Index>(batch.frames.size());
      if (n == 0) return;
      const std::string at = fmt::format("/chunks/{}", chunk++);
      std::map<model::FrameId, const model::Values*> values;
      for (const auto& [id, v] : batch.values) values[id] = &v;
      core::AnyArray data(d.dtype, {n, d.ny, d.nx});
      core::Array<double, 2> positions({n, 2});
      core::Array<std::int64_t, 1> indices({n});
      for (Index i = 0; i < n; ++i) {
        const auto& f = batch.frames[static_cast<std::size_t>(i)];
        const auto image = shifted(f.image, d.dc, model::DcLocation::centre);
        std::memcpy(static_cast<std::byte*>(data.data()) + i * image.bytes(), image.data(),
                    static_cast<std::size_t>(image.bytes()));
        const auto found = values.find(f.id);
        const auto p = found == values.end() ? std::nullopt : position_in(*found->second, "y_m", "x_m");
        positions(i, 0) = p ? p->y : std::nan("");
        positions(i, 1) = p ? p->x : std::nan("");
        indices(i) = f.id;
      }
      file.write(at + "/data", data, {{1, d.ny, d.nx}, {}, {{hdf5::kShuffle, {}}, {hdf5::kDeflate, {1}}}});
      file.write(at + "/positions", core::AnyArray(positions));
      file.write(at + "/indices", core::AnyArray(indices));
      frames += n;
    });
    core::Array<std::int64_t, 1> shape({2});
    shape(0) = d.ny;
    shape(1) = d.nx;
    core::Array<double, 1> centre({2});
    centre(0) = static_cast<double>(d.ny / 2);
    centre(1) = static_cast<double>(d.nx / 2);
    for (const std::string group : {"/meta", "/info"}) {
      file.write(group + "/shape", core::AnyArray(shape));
      file.write(group + "/center", core::AnyArray(centre));
      file.write_text(group + "/version", "0.1");
      file.write_text(group + "/propagation", "farfield");
      file.write_number(group + "/num_frames", static_cast<double>(frames));
      if (a.beam.energy_eV) file.write_number(group + "/energy", *a.beam.energy_eV * 1e-3);
      if (d.distance_m) file.write_number(group + "/distance", *d.distance_m);
      if (d.pixel_size_y_m && d.pixel_size_x_m) {
        core::Array<double, 1> pitch({2});
        pitch(0) = *d.pixel_size_y_m;
        pitch(1) = *d.pixel_size_x_m;
        file.write(group + "/psize", core::AnyArray(pitch));
      }
    }
    if (!d.pixel_mask.empty()) file.write("/meta/weight2d", weights);
    file.close();
  }
  target.commit();
}

void to_npz(const model::Product& p, const std::filesystem::path& to) {
  AtomicFile file(to);
  npz::ZipWriter zip(file);
  for (const auto& d : p.datasets) {
    hdf5::check_name(d.name, "dataset");
    put(zip, d.name, d.data);
  }
  zip.finish();
  file.commit();
}

void to_tiffs(const model::Product& p, const std::filesystem::path& to) {
  const auto path = [&](const std::string& what) {
    return to.parent_path() / (to.stem().string() + "_" + what + to.extension().string());
  };
  bool any = false;
  const auto write = [&](const std::string& what, Index ny, Index nx, const std::function<float(Index)>& pixel) {
    core::Array<float, 2> image({ny, nx});
    for (Index i = 0; i < image.size(); ++i) image.data()[i] = pixel(i);
    write_tiff(path(what), image);
    any = true;
  };
  for (const auto& d : p.datasets) {
    hdf5::check_name(d.name, "dataset");
    const auto& shape = d.data.shape();
    const bool complex = d.data.dtype() == core::DType::c64 || d.data.dtype() == core::DType::c128;
    if (d.data.rank() == 2 && complex && d.data.size() > 0) {
      const auto image = d.data.to<core::cfloat, 2>();
      write(d.name + "_phase", shape[0], shape[1], [&](Index i) { return std::arg(image.data()[i]); });
      write(d.name + "_amplitude", shape[0], shape[1], [&](Index i) { return std::abs(image.data()[i]); });
    } else if (d.data.rank() == 3 && complex && d.data.size() > 0) {
      const auto stack = d.data.to<core::cfloat, 3>();
      for (Index m = 0; m < shape[0]; ++m)
        write(fmt::format("{}_{}_amplitude", d.name, m), shape[1], shape[2],
              [&](Index i) { return std::abs(stack.view()[m].data()[i]); });
    } else if (d.data.rank() == 2 && d.data.size() > 0 && !d.axes.empty() && d.axes.back() == "x") {
      const auto image = d.data.to<float, 2>();
      write(d.name, shape[0], shape[1], [&](Index i) { return image.data()[i]; });
    }
  }
  if (!any) throw Error(ErrorCode::unsupported, "the product holds no image").at(to.string());
}

// Results are told from scans by what only they hold.
bool holds_product(const std::filesystem::path& from) {
  if (hdf5::File::is_hdf5(from)) {
    const auto file = hdf5::File::open(from);
    return cxi::is_product(file) || file.has("/content/obj") || file.has("/content/probe");
  }
  std::string head(4, '\0');
  const auto bytes = file_bytes(from);
  if (bytes->size() < 4) return false;
  bytes->read(0, std::as_writable_bytes(std::span(head)));
  if (head != "PK\x03\x04") return false;  // packed again (.npz.bz2) are scans only
  return !npz::Npz::open(from).has("data");
}
}  // namespace

void convert(const std::filesystem::path& from, const std::filesystem::path& to, const OpenOptions& options,
             std::stop_token stop) {
  std::string suffix = to.extension().string();
  for (auto& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const bool tiff = suffix == ".tif" || suffix == ".tiff", cxi = suffix == ".cxi" || suffix == ".nxs";
  if (!tiff && !cxi && suffix != ".npz" && suffix != ".ptyd")
    throw Error(
        ErrorCode::unsupported,
        fmt::format("suffix \"{}\" of {} is none of .cxi, .nxs, .npz, .ptyd (scans), .cxi, .npz, .tif (results)",
                    suffix, to.string()));
  if (options.recipe.empty() && (tiff || holds_product(from))) {
    const auto product = read_product(from);
    if (tiff) return to_tiffs(product, to);
    if (suffix == ".cxi") return write_product(to, product);
    if (suffix == ".npz") return to_npz(product, to);
    throw Error(ErrorCode::unsupported,
                fmt::format("{} holds a result, which becomes .cxi, .npz or .tif, not {}", from.string(), suffix));
  }
  if (tiff) throw Error(ErrorCode::unsupported, "a recipe reads a scan, which does not become TIFF");
  const auto source = open_scan(from, options);
  if (cxi) to_cxi(*source, to, stop);
  if (suffix == ".npz") to_tike(*source, to, stop);
  if (suffix == ".ptyd") to_ptyd(*source, to, stop);
}

}  // namespace farfield::io
