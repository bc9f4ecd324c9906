#include "farfield/io/late_checksum.hpp"

#include <utility>

#include "farfield/io/stack_source.hpp"

namespace farfield::io {

LateChecksum::LateChecksum(std::filesystem::path path) {
  std::packaged_task<std::string(std::stop_token)> task(
      [path = std::move(path)](std::stop_token stop) { return file_checksum(path, std::move(stop)); });
  sum_ = task.get_future().share();
  thread_ = std::jthread([task = std::move(task)](std::stop_token stop) mutable { task(std::move(stop)); });
}

LateChecksum::~LateChecksum() = default;  // ~jthread asks to stop, and waits

}  // namespace farfield::io
