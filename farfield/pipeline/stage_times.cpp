#include "farfield/pipeline/stage_times.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

namespace farfield::pipeline {

using core::Error;
using core::ErrorCode;

namespace {

constexpr const char* kHead = "stage_times";
constexpr std::size_t kRecordsPerBlock = 1 << 14;
constexpr std::size_t kMostStages = std::numeric_limits<std::uint16_t>::max();

std::string block(std::size_t number) { return fmt::format("{}/{}", kHead, number); }

double unix_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

StageTimesHead parse_head(const std::vector<std::byte>& bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const auto json = nlohmann::json::parse(text, text + bytes.size(), nullptr, false);
  try {
    if (const auto version = json.at("version").get<std::int64_t>(); version != 1)
      throw Error(ErrorCode::unsupported, fmt::format("stage times of version {}; this program reads 1", version));
    StageTimesHead head{json.at("rank").get<int>(), json.at("worker").get<std::string>(),
                        json.at("origin_unix_s").get<double>(), json.at("stages").get<std::vector<std::string>>()};
    return head;
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorCode::corrupt_data, fmt::format("the head of the stage times is not as it must be: {}", e.what()));
  }
}

}  // namespace

StageTimesWriter::StageTimesWriter(const std::filesystem::path& path, int rank, std::string worker,
                                   std::vector<std::string> stages, const core::Clock& clock)
    : file_(path), stages_(stages.size()), origin_s_(clock.now_s()) {
  if (stages.empty() || stages.size() > kMostStages)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} stages; there must be 1 to {}", stages.size(), kMostStages));
  const nlohmann::ordered_json head{{"version", 1},
                                    {"rank", rank},
                                    {"worker", std::move(worker)},
                                    {"origin_unix_s", unix_s()},
                                    {"stages", std::move(stages)}};
  const std::string text = head.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  file_.put(kHead, std::as_bytes(std::span(text)));
  buffer_.reserve(kRecordsPerBlock);
}

void StageTimesWriter::record(model::FrameId frame, std::size_t stage, double begin_s, double end_s,
                              StageStatus status) {
  if (stage >= stages_)
    throw Error(ErrorCode::internal, fmt::format("stage {} of {} was given a time", stage, stages_));
  const std::lock_guard lock(mutex_);
  buffer_.push_back({frame, begin_s - origin_s_, end_s - origin_s_, static_cast<std::uint16_t>(stage), status, 0});
  if (buffer_.size() == kRecordsPerBlock) flush();
}

void StageTimesWriter::flush() {
  if (buffer_.empty()) return;
  file_.put(block(blocks_++), std::as_bytes(std::span(buffer_)));
  buffer_.clear();
}

void StageTimesWriter::commit() {
  const std::lock_guard lock(mutex_);
  flush();
  file_.commit();
}

StageTimes read_stage_times(const std::filesystem::path& path) {
  const io::ContainerReader file(path);
  if (!file.has(kHead)) throw Error(ErrorCode::corrupt_data, "the container holds no stage times").at(path.string());
  StageTimes out;
  try {
    out.head = parse_head(file.get(kHead));
    for (std::size_t i = 0; file.has(block(i)); ++i) {
      const auto bytes = file.get(block(i));
      if (bytes.size() % sizeof(StageTime) != 0)
        throw Error(ErrorCode::corrupt_data, fmt::format("block {} has {} bytes, not a multiple of {}", block(i),
                                                         bytes.size(), sizeof(StageTime)));
      const std::size_t first = out.times.size();
      out.times.resize(first + bytes.size() / sizeof(StageTime));
      if (!bytes.empty()) std::memcpy(out.times.data() + first, bytes.data(), bytes.size());
    }
    for (const auto& t : out.times) {
      if (t.stage >= out.head.stages.size())
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("frame {} has a time at stage {} of {}", t.frame, t.stage, out.head.stages.size()));
      if (t.status > StageStatus::damaged)
        throw Error(ErrorCode::corrupt_data,
                    fmt::format("frame {} has status {}; there are 0 to {}", t.frame, static_cast<int>(t.status),
                                static_cast<int>(StageStatus::damaged)));
      if (!std::isfinite(t.begin_s) || !std::isfinite(t.end_s))
        throw Error(ErrorCode::corrupt_data, fmt::format("frame {} has a time that is not finite", t.frame));
    }
  } catch (Error& e) {
    throw std::move(e).at(path.string());
  }
  return out;
}

}  // namespace farfield::pipeline
