// The raw archive beside a plain write of the same chunks: the recorded frame of an EIGER 4M (tests/data), 1.17 MB
// packed, 200 times, flushed to the disk at the end; and a spool beside the same. Figures are medians of rounds, in
// turn. `bench_archive [rounds]`

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "farfield/io/atomic_file.hpp"
#include "farfield/pipeline/archive.hpp"
#include "farfield/stream/spool/spool.hpp"

namespace {

using namespace farfield;
using core::Index;
namespace fs = std::filesystem;

constexpr Index kNy = 2167, kNx = 2070;
constexpr int kFrames = 200;

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void plain_write(const std::vector<std::byte>& blob, const fs::path& path) {
  io::AtomicFile file(path);
  for (int i = 0; i < kFrames; ++i) file.write(blob);
  file.commit();
}

void archived(const std::vector<std::byte>& blob, const fs::path& path) {
  model::Acquisition a;
  a.detector.ny = kNy;
  a.detector.nx = kNx;
  a.detector.dtype = core::DType::u16;
  a.scan.expected_frames = kFrames;
  const stream::dectris::PackedPixels packed{
      core::DType::u16, kNy, kNx, stream::dectris::Compression::bitshuffle_lz4, false, blob};
  pipeline::Archive archive(path, a);
  for (int i = 0; i < kFrames; ++i) archive.put(i, packed, nullptr);
  archive.commit();
}

/// Written and read again, without a flush.
void spooled(const std::vector<std::byte>& blob, const fs::path& folder) {
  stream::Spool spool(folder);
  stream::Envelope in, out;
  in.parts = {blob};
  for (int i = 0; i < kFrames; ++i) {
    (void)spool.append(in);
    (void)spool.next(out);
  }
  spool.release();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 7;
  std::ifstream file("tests/data/dectris_v1/frame_0.bs16-lz4", std::ios::binary);
  const std::vector<char> chars((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(chars));
  const std::vector<std::byte> blob(bytes.begin(), bytes.end());
  if (blob.empty()) {
    fmt::print(stderr, "run in the root of the repository: tests/data/dectris_v1/frame_0.bs16-lz4 is read\n");
    return 1;
  }
  const auto folder = fs::temp_directory_path() / fmt::format("farfield_bench_{}", ::getpid());
  fs::create_directories(folder);
  std::vector<double> plain, archive, spool;
  for (int i = 0; i < rounds; ++i) {
    plain.push_back(seconds_of([&] { plain_write(blob, folder / "plain"); }));
    archive.push_back(seconds_of([&] { archived(blob, folder / "archive.h5"); }));
    spool.push_back(seconds_of([&] { spooled(blob, folder / "spool"); }));
    fs::remove_all(folder / "spool");
  }
  fs::remove_all(folder);
  const double megabytes = static_cast<double>(blob.size()) * kFrames / 1e6;
  const double p = median(plain), h = median(archive), s = median(spool);
  fmt::print("plain write {:.0f} MB/s, archive by direct chunk writes {:.0f} MB/s: {:.2f} of it (bar 0.8)\n",
             megabytes / p, megabytes / h, p / h);
  fmt::print("spool, written and read again, not flushed: {:.0f} MB/s\n", megabytes / s);
  return 0;
}
