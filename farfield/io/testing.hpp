#pragma once
// For tests of this room only: folders that vanish, small scans, and errors as text.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "farfield/core/testing.hpp"
#include "farfield/io/scan_file.hpp"

namespace farfield::io::testing {

using core::testing::TemporaryFolder;

/// Everything a source hands out, kept.
struct Taken {
  std::map<model::FrameId, core::AnyArray> frames;
  std::map<model::FrameId, model::Values> values;
  std::map<model::FrameId, std::string> bad;
  core::Index batches = 0, largest_batch = 0;
};

inline Taken take_all(model::FrameSource& source) {
  Taken t;
  while (source.next({}, [&](const model::FrameBatch& batch) {
    ++t.batches;
    t.largest_batch = std::max(t.largest_batch, static_cast<core::Index>(batch.frames.size()));
    for (const auto& f : batch.frames) {
      core::AnyArray copy(f.image.dtype, {f.image.ny, f.image.nx});
      const auto row = static_cast<std::size_t>(f.image.nx * core::item_size(f.image.dtype));
      for (core::Index y = 0; y < f.image.ny; ++y)
        std::memcpy(static_cast<char*>(copy.data()) + y * static_cast<core::Index>(row),
                    static_cast<const char*>(f.image.data) + y * f.image.row_stride * core::item_size(f.image.dtype),
                    row);
      t.frames.emplace(f.id, std::move(copy));
    }
    for (const auto& [id, values] : batch.values) t.values[id].insert(values.begin(), values.end());
    for (const auto& [id, reason] : batch.bad) t.bad[id] = reason;
  })) {}
  return t;
}

/// Code and full text of the error that `f` throws; a failure of the test when it throws none.
struct Caught {
  core::ErrorCode code = core::ErrorCode::internal;
  std::string text;
};
inline Caught caught(const std::function<void()>& f) {
  try {
    f();
  } catch (const core::Error& e) {
    return {e.code(), e.what()};
  }
  ADD_FAILURE() << "no error was thrown";
  return {};
}
#define EXPECT_CONTAINS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "\"" << (text) << "\" lacks \"" << (part) << "\""

/// Bytes as a file, without waiting for the disk.
inline void write_plain(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline bool same(const core::AnyArray& a, const core::AnyArray& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.bytes())) == 0;
}

}  // namespace farfield::io::testing
