#include "farfield/services/compute/worker/large_output.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "farfield/services/compute/json.hpp"
#include "farfield/services/compute/small_file.hpp"

namespace farfield::services::compute {
namespace {
constexpr std::string_view kNote = R"({"$file":)";
constexpr std::size_t kLargest = std::size_t{1} << 32;
}  // namespace

std::string large_output_path(const std::string& block_folder, const TaskKey& key) {
  return fmt::format("{}/outputs/{}.{}.json", block_folder, key.task, key.attempt);
}

std::string compact_output(std::string output) {
  if (output == "null") return output;
  return to_text(parse_json(output, "the output", core::ErrorCode::invalid_argument, kLargest));
}

bool is_large(const std::string& output) { return output.size() > kInlineOutput || output.starts_with(kNote); }

std::string put_aside(const std::string& output, const std::string& block_folder, const TaskKey& key) {
  std::error_code error;
  std::filesystem::create_directories(block_folder + "/outputs", error);
  write_private(large_output_path(block_folder, key), output);
  return fmt::format("{}{}}}", kNote, output.size());
}

std::optional<std::uint64_t> noted_bytes(const std::string& output) {
  if (!output.starts_with(kNote)) return std::nullopt;
  return std::strtoull(output.c_str() + kNote.size(), nullptr, 10);
}

}  // namespace farfield::services::compute
