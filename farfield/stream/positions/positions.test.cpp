#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "farfield/stream/positions/join.hpp"

namespace farfield::stream {
namespace {

using core::Error;
namespace fs = std::filesystem;

std::vector<std::byte> bytes(const std::string& text) {
  const auto b = std::as_bytes(std::span(text));
  return {b.begin(), b.end()};
}

std::unique_ptr<Feed> feed(const std::vector<std::string>& messages) {
  std::vector<MemoryFeed::Parts> parts;
  for (const auto& m : messages) parts.push_back({bytes(m)});
  return std::make_unique<MemoryFeed>(std::move(parts));
}

std::vector<Reading> all(ValueSource& source) {
  std::vector<Reading> out;
  const auto take = [&](Reading r) { out.push_back(std::move(r)); };
  while (source.poll(take)) {}
  return out;
}

TEST(Renaming, NamesAndFactors) {
  const Renaming names("x_m=sx:1e-6,y_m=sy,copy=sx");
  model::Values values;
  names.add(values, "sx", 2);
  names.add(values, "sy", 3);
  names.add(values, "monitor", 4);
  EXPECT_EQ(values, (model::Values{{"x_m", 2e-6}, {"copy", 2}, {"y_m", 3}, {"monitor", 4}}));
  for (const auto* wrong : {"x_m", "=sx", "x_m=", "x_m=sx:", "x_m=sx:much", "x_m=sx,"})
    EXPECT_THROW(Renaming{wrong}, Error) << wrong;
}

TEST(JsonValues, ObjectsAndListsByFrameOrTime) {
  JsonValues source(
      feed({R"({"frame": 3, "x_m": 1e-6, "name": "text"})", "not JSON", R"({"x_m": 1})", R"({"frame": -1})",
            R"([{"time_s": 0.5, "x_m": 2}, {"frame": 4}])", R"({"end": true})", R"({"frame": 9})"}),
      {});
  const auto readings = all(source);
  ASSERT_EQ(readings.size(), 4U) << "of one poll, what stands behind the end is still taken";
  EXPECT_EQ(readings[0].frame, 3);
  EXPECT_EQ(readings[0].values, (model::Values{{"x_m", 1e-6}}));
  EXPECT_EQ(readings[1].time_s, 0.5);
  EXPECT_EQ(source.unreadable, 3);
}

TEST(BlueskyValues, EventsAndPages) {
  const std::string event = R"({"seq_num": 2, "time": 1.5, "data": {"sx": 5, "label": "a"}})";
  const std::string page = R"({"seq_num": [3, 4], "time": [2, 3], "data": {"sx": [6, 7]}})";
  const auto packed = nlohmann::json::to_msgpack(nlohmann::json::parse(R"({"seq_num": 5, "data": {"sx": 8}})"));
  BlueskyValues source(feed({"p start {}", "p event " + event, "p event_page " + page,
                             "p event " + std::string(packed.begin(), packed.end()), "p event \x80\x04pickle",
                             "p event {}", "nonsense", "p stop {}"}),
                       Renaming("x_m=sx:1e-6"));
  const auto readings = all(source);
  ASSERT_EQ(readings.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(readings[i].frame, static_cast<model::FrameId>(i + 1));
    EXPECT_DOUBLE_EQ(readings[i].values.at("x_m"), (5 + static_cast<double>(i)) * 1e-6);
  }
  EXPECT_EQ(source.unreadable, 3);
}

struct CsvTest : ::testing::Test {
  fs::path path = fs::temp_directory_path() / ("farfield_positions_" + std::to_string(::getpid()) + ".csv");
  void append(const std::string& text) const { std::ofstream(path, std::ios::app | std::ios::binary) << text; }
  ~CsvTest() override { fs::remove(path); }
};

TEST_F(CsvTest, RowsCountWhenTheirLineHasEnded) {
  CsvValues source(path, Renaming("x_m=x:1e-6"));
  std::vector<Reading> got;
  const auto poll = [&] { return source.poll([&](Reading r) { got.push_back(std::move(r)); }); };
  EXPECT_TRUE(poll()) << "not there yet";
  append("frame, x\n7,1.5\n8,2");
  EXPECT_TRUE(poll());
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].frame, 7);
  EXPECT_DOUBLE_EQ(got[0].values.at("x_m"), 1.5e-6);
  append(".5\r\n# a remark\nnonsense\n9,\nnan,1\n");
  poll();
  ASSERT_EQ(got.size(), 3U);
  EXPECT_DOUBLE_EQ(got[1].values.at("x_m"), 2.5e-6);
  EXPECT_EQ(got[2].frame, 9);
  EXPECT_TRUE(got[2].values.empty()) << "an empty cell is no number";
  EXPECT_EQ(source.unreadable, 2);
}

TEST_F(CsvTest, RowsWithoutFrameOrTimeAreCounted) {
  append("# y_m,x_m\n1,2\n3,4\n");
  CsvValues source(path, {});
  std::vector<Reading> got;
  source.poll([&](Reading r) { got.push_back(std::move(r)); });
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[1].frame, 1);
  EXPECT_EQ(got[1].values, (model::Values{{"y_m", 3}, {"x_m", 4}}));
}

/// One frame a piece, at given times.
class TimedFrames final : public model::FrameSource {
public:
  explicit TimedFrames(std::vector<double> times) : times_(std::move(times)) {}
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token, const std::function<void(const model::FrameBatch&)>& take) override {
    if (next_ == times_.size()) return false;
    model::FrameBatch batch;
    const auto id = static_cast<model::FrameId>(next_);
    batch.frames.push_back({id, {core::DType::u8, &pixel_, 1, 1, 1}});
    batch.values.emplace_back(id, model::Values{{"time_s", times_[next_++]}});
    take(batch);
    return true;
  }

private:
  std::vector<double> times_;
  std::size_t next_ = 0;
  std::uint8_t pixel_ = 0;
  model::Acquisition acquisition_;
};

/// Readings in pieces, one a poll.
class Pieces final : public ValueSource {
public:
  explicit Pieces(std::vector<std::vector<Reading>> pieces) : pieces_(std::move(pieces)) {}
  bool poll(const std::function<void(Reading)>& take) override {
    if (next_ == pieces_.size()) return false;
    for (auto& r : pieces_[next_++]) take(std::move(r));
    return true;
  }

private:
  std::vector<std::vector<Reading>> pieces_;
  std::size_t next_ = 0;
};

std::map<model::FrameId, double> joined(std::vector<double> times, std::vector<std::vector<Reading>> readings,
                                        const JoinOptions& options = {}) {
  TimedFrames frames(std::move(times));
  Pieces pieces(std::move(readings));
  core::ManualClock clock;
  JoinedSource source(frames, {&pieces}, options, clock);
  std::map<model::FrameId, double> out;
  while (source.next({}, [&](const model::FrameBatch& batch) {
    for (const auto& [id, values] : batch.values)
      if (values.contains("x_m")) out[id] = values.at("x_m");
  })) {
    clock.time_s += 0.1;
  }
  return out;
}

Reading at_frame(model::FrameId id, double x) { return {id, std::nullopt, {{"x_m", x}}}; }
Reading at_time(double time, double x) { return {std::nullopt, time, {{"x_m", x}}}; }
using Joined = std::map<model::FrameId, double>;

TEST(Join, ByFrameNumberEarlyOrLate) {
  const Joined expected{{0, 10}, {1, 11}, {2, 12}};
  EXPECT_EQ(joined({0, 1, 2}, {{at_frame(0, 10), at_frame(1, 11), at_frame(2, 12)}}), expected) << "early";
  EXPECT_EQ(joined({0, 1, 2}, {{}, {}, {}, {}, {}, {at_frame(2, 12)}, {at_frame(0, 10)}, {at_frame(1, 11)}}), expected)
      << "late";
}

TEST(Join, ByTimeBetweenTheReadings) {
  EXPECT_EQ(joined({0, 0.5, 1.25}, {{at_time(0, 0)}, {at_time(1, 10)}, {at_time(2, 30)}}),
            (Joined{{0, 0}, {1, 5}, {2, 15}}));
  EXPECT_EQ(joined({0.5}, {{}, {}, {}, {at_time(1, 10), at_time(0, 0)}}), (Joined{{0, 5}})) << "late and in any order";
  EXPECT_EQ(joined({100.5}, {{at_time(0, 0), at_time(1, 10)}}, {.time_offset_s = 100}), (Joined{{0, 5}}));
  EXPECT_EQ(joined({-1, 0.5, 7}, {{at_time(0, 0), at_time(1, 10)}}), (Joined{{1, 5}})) << "nothing is made up outside";
  EXPECT_EQ(joined({5}, {{at_time(0, 0), at_time(100, 10)}}), (Joined{})) << "too far apart";
}

TEST(Join, NobodyWaitsForValuesForEver) {
  EXPECT_EQ(joined({0, 1}, std::vector<std::vector<Reading>>(100000), {.late_s = 3}), (Joined{}));
}

}  // namespace
}  // namespace farfield::stream
