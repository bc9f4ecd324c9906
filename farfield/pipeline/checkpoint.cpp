#include "farfield/pipeline/checkpoint.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace farfield::pipeline {

using core::Error;
using core::ErrorCode;

namespace {

constexpr const char* kHeaderBlock = "header";
constexpr const char* kPrefix = "technique/";  // so that no block of a technique can be taken for the header

struct BlockWriter final : technique::Sink {
  explicit BlockWriter(io::ContainerWriter& w) : writer(w) {}
  void put(std::string_view name, std::span<const std::byte> bytes) override {
    writer.put(kPrefix + std::string(name), bytes);
  }
  io::ContainerWriter& writer;
};

}  // namespace

void write_checkpoint(const std::filesystem::path& path, const CheckpointHeader& header,
                      const technique::Technique& technique) {
  const nlohmann::json json{{"technique", header.technique},
                            {"verb", header.verb},
                            {"input_checksum", header.input_checksum},
                            {"facts", header.facts}};
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  io::ContainerWriter writer(path);
  writer.put(kHeaderBlock, std::as_bytes(std::span(text)));
  BlockWriter blocks(writer);
  technique.save(blocks);
  writer.commit();
}

CheckpointFile::CheckpointFile(const std::filesystem::path& path) : path_(path), reader_(path) {
  const auto bytes = reader_.get(kHeaderBlock);
  const auto json = nlohmann::json::parse(reinterpret_cast<const char*>(bytes.data()),
                                          reinterpret_cast<const char*>(bytes.data()) + bytes.size(), nullptr, false);
  try {
    header_ = {json.at("technique"), json.at("verb"), json.at("input_checksum"), json.at("facts")};
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorCode::corrupt_data, fmt::format("the header of the checkpoint cannot be read: {}", e.what()))
        .at(path.string());
  }
}

std::string CheckpointFile::prefixed(std::string_view name) { return kPrefix + std::string(name); }

void CheckpointFile::require(const CheckpointHeader& wanted) const {
  const auto conflict = [&](std::string message) {
    throw Error(ErrorCode::conflict, std::move(message)).at(path_.string());
  };
  if (header_.technique != wanted.technique || header_.verb != wanted.verb)
    conflict(fmt::format("checkpoint of {} {} cannot go on as {} {}", header_.technique, header_.verb, wanted.technique,
                         wanted.verb));
  if (!header_.input_checksum.empty() && !wanted.input_checksum.empty() &&
      header_.input_checksum != wanted.input_checksum)
    conflict(fmt::format("checkpoint belongs to another input: its checksum is {}, this one has {}",
                         header_.input_checksum, wanted.input_checksum));
}

}  // namespace farfield::pipeline
