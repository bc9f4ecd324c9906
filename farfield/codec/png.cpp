#include "farfield/codec/png.hpp"

#include <fmt/core.h>
#include <png.h>

#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace farfield::codec {
namespace {
using core::ErrorCode;
using core::Index;

// libpng reports errors by longjmp. Between setjmp and a possible jump no object with a destructor comes to life:
// everything that is allocated lives in the structs below, which their owner destroys after the jump.

struct Failure {
  char message[160] = "unknown";
};
[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* failure = static_cast<Failure*>(png_get_error_ptr(png));
  std::strncpy(failure->message, message, sizeof failure->message - 1);
  longjmp(*png_set_longjmp_fn(png, longjmp, sizeof(jmp_buf)), 1);
}
void on_warning(png_structp, png_const_charp) {}

struct Writer {
  Failure failure{};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &failure, on_error, on_warning);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  std::vector<std::byte> out{};
  std::vector<png_text> text{};
  bool out_of_memory = false;
  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { png_destroy_write_struct(&png, &info); }
};
void append(png_structp png, png_bytep data, png_size_t length) {
  auto* writer = static_cast<Writer*>(png_get_io_ptr(png));
  try {
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    writer->out.insert(writer->out.end(), bytes, bytes + length);
  } catch (const std::bad_alloc&) {  // must not travel through C frames
    writer->out_of_memory = true;
  }
  if (writer->out_of_memory) png_error(png, "out of memory");
}
void flush(png_structp) {}

bool write(Writer& w, const Image8& image, int level) {
  if (setjmp(png_jmpbuf(w.png)) != 0) return false;
  png_set_write_fn(w.png, &w, append, flush);
  const int colour = image.channels == 1   ? PNG_COLOR_TYPE_GRAY
                     : image.channels == 3 ? PNG_COLOR_TYPE_RGB
                                           : PNG_COLOR_TYPE_RGB_ALPHA;
  png_set_user_limits(w.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_set_compression_level(w.png, level);
  png_set_IHDR(w.png, w.info, static_cast<png_uint_32>(image.nx), static_cast<png_uint_32>(image.ny), 8, colour,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (image.pixels_per_metre > 0)
    png_set_pHYs(w.png, w.info, image.pixels_per_metre, image.pixels_per_metre, PNG_RESOLUTION_METER);
  if (!w.text.empty()) png_set_text(w.png, w.info, w.text.data(), static_cast<int>(w.text.size()));
  png_write_info(w.png, w.info);
  for (Index y = 0; y < image.ny; ++y) png_write_row(w.png, image.pixels.data() + y * image.nx * image.channels);
  png_write_end(w.png, w.info);
  return true;
}

/// What libpng may allocate at once. A chunk's length is a claim, so nothing is believed that exceeds the input by far.
constexpr std::size_t kAllowance = 1 << 20;
png_voidp allocate(png_structp png, png_alloc_size_t bytes) {
  return bytes <= *static_cast<const std::size_t*>(png_get_mem_ptr(png)) ? std::malloc(bytes) : nullptr;
}
void release(png_structp, png_voidp p) { std::free(p); }

struct Reader {
  explicit Reader(std::span<const std::byte> data) : in(data), limit(kAllowance + data.size()) {}
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }

  std::span<const std::byte> in;
  std::size_t limit;
  Failure failure{};
  png_structp png =
      png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &failure, on_error, on_warning, &limit, allocate, release);
  png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
  png_uint_32 nx = 0, ny = 0;
  int channels = 0, passes = 1;
};
void take(png_structp png, png_bytep data, png_size_t length) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (reader->in.size() < length) png_error(png, "truncated");
  std::memcpy(data, reader->in.data(), length);
  reader->in = reader->in.subspan(length);
}

bool read_header(Reader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_read_fn(r.png, &r, take);
  png_set_user_limits(r.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(r.png, r.info);
  r.nx = png_get_image_width(r.png, r.info);
  r.ny = png_get_image_height(r.png, r.info);
  return true;
}
/// The transformations that make any PNG 8-bit gray, RGB or RGBA. Allocates rows: the size was checked before.
bool prepare_pixels(Reader& r) {
  r.limit += std::size_t{r.nx} * 8;  // a row of 16-bit RGBA
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  const int colour = png_get_color_type(r.png, r.info);
  png_set_expand(r.png);
  png_set_scale_16(r.png);
  const bool alpha = (colour & PNG_COLOR_MASK_ALPHA) != 0 || png_get_valid(r.png, r.info, PNG_INFO_tRNS) != 0;
  if ((colour & PNG_COLOR_MASK_COLOR) == 0 && alpha) png_set_gray_to_rgb(r.png);
  r.passes = png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  r.channels = png_get_channels(r.png, r.info);
  return true;
}
bool read_pixels(Reader& r, std::uint8_t* pixels) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  const std::size_t row = std::size_t{r.nx} * static_cast<std::size_t>(r.channels);
  for (int pass = 0; pass < r.passes; ++pass)
    for (png_uint_32 y = 0; y < r.ny; ++y) png_read_row(r.png, pixels + y * row, nullptr);
  png_read_end(r.png, r.info);
  return true;
}
}  // namespace

std::vector<std::byte> png_encode(const Image8& image, int level) {
  const auto refuse = [](std::string message) { throw core::Error(ErrorCode::invalid_argument, std::move(message)); };
  if (image.channels != 1 && image.channels != 3 && image.channels != 4)
    refuse(fmt::format("PNG of {} channels must have 1, 3 or 4", image.channels));
  constexpr Index kMax = std::numeric_limits<std::int32_t>::max();
  if (image.ny < 1 || image.nx < 1 || image.ny > kMax || image.nx > kMax)
    refuse(fmt::format("PNG of {} x {} pixels must have 1 to {} on each axis", image.ny, image.nx, kMax));
  if (std::ssize(image.pixels) / image.channels / image.nx != image.ny ||
      std::ssize(image.pixels) % (image.channels * image.nx) != 0)
    refuse(fmt::format("PNG of {} x {} x {} given {} bytes", image.ny, image.nx, image.channels, image.pixels.size()));
  if (level < 1 || level > 9) refuse(fmt::format("PNG compression level {} must be 1 to 9", level));

  Writer w;
  if (w.info == nullptr) throw std::bad_alloc();
  for (const auto& [key, value] : image.text) {
    if (key.empty() || key.size() > 79) refuse(fmt::format("PNG keyword '{}' must have 1 to 79 characters", key));
    png_text entry{};
    entry.compression = PNG_TEXT_COMPRESSION_NONE;
    entry.key = const_cast<char*>(key.c_str());  // libpng copies both and takes them as non-const
    entry.text = const_cast<char*>(value.c_str());
    entry.text_length = value.size();
    w.text.push_back(entry);
  }
  if (write(w, image, level)) return std::move(w.out);
  if (w.out_of_memory) throw std::bad_alloc();
  throw core::Error(ErrorCode::internal, fmt::format("PNG encoder: {}", w.failure.message));
}

core::Result<Image8> png_decode(std::span<const std::byte> data, Index max_pixels) {
  Reader r(data);
  if (r.info == nullptr) throw std::bad_alloc();
  const auto corrupt = [&] {
    return core::failure(ErrorCode::corrupt_data, fmt::format("PNG of {} bytes: {}", data.size(), r.failure.message));
  };
  if (!read_header(r)) return corrupt();
  if (Index{r.nx} > max_pixels / Index{r.ny})
    return core::failure(ErrorCode::resource_exhausted,
                         fmt::format("PNG of {} x {} pixels is above the limit of {}", r.ny, r.nx, max_pixels));
  if (!prepare_pixels(r)) return corrupt();
  Image8 image{Index{r.ny}, Index{r.nx}, r.channels};
  image.pixels.resize(std::size_t{r.ny} * r.nx * static_cast<std::size_t>(r.channels));
  if (!read_pixels(r, image.pixels.data())) return corrupt();
  png_textp text = nullptr;
  int count = 0;
  png_get_text(r.png, r.info, &text, &count);
  for (int i = 0; i < count; ++i) image.text.emplace_back(text[i].key, text[i].text != nullptr ? text[i].text : "");
  png_uint_32 per_x = 0, per_y = 0;
  int unit = 0;
  if (png_get_pHYs(r.png, r.info, &per_x, &per_y, &unit) != 0 && unit == PNG_RESOLUTION_METER)
    image.pixels_per_metre = per_x;
  return image;
}

}  // namespace farfield::codec
