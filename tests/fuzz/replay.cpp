// Feeds every file of a folder to a fuzz target, and each of its first halves and single-byte changes, so that
// the seed corpus is a regression test where libFuzzer is absent. A crash or a sanitizer report is the failure.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  LLVMFuzzerTestOneInput(nullptr, 0);
  int count = 0;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1], absent)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    for (std::size_t size = bytes.size() / 2; size > 0; size /= 2) LLVMFuzzerTestOneInput(bytes.data(), size);
    // Up to 64 positions, so that a large seed does not make a long test.
    const std::size_t step = std::max<std::size_t>(1, bytes.size() / 64);
    for (std::size_t at = 0; at < bytes.size(); at += step) {
      const std::uint8_t kept = bytes[at];
      bytes[at] ^= 0x81;
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      bytes[at] = kept;
    }
    ++count;
  }
  std::printf("%d seeds\n", count);
}
