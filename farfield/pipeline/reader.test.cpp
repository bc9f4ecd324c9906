#include "farfield/pipeline/reader.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>

namespace farfield::pipeline {
namespace {

namespace fs = std::filesystem;

/// Frames of 4 pixels that it keeps alive where asked to, each with a value; all in pieces of one.
class Frames final : public model::FrameSource {
public:
  Frames(Index count, bool keep) : count_(count), keep_(keep) {
    acquisition_.detector.ny = acquisition_.detector.nx = 2;
    acquisition_.detector.dtype = core::DType::u16;
  }
  const model::Acquisition& acquisition() const override { return acquisition_; }
  bool next(std::stop_token, const std::function<void(const model::FrameBatch&)>& take) override {
    if (next_ == count_) return false;
    auto pixels = std::make_shared<std::vector<std::uint16_t>>(4, static_cast<std::uint16_t>(next_));
    model::FrameBatch batch;
    batch.frames.push_back({next_, {core::DType::u16, pixels->data(), 2, 2, 2}});
    batch.values.emplace_back(next_, model::Values{{"monitor", static_cast<double>(next_)}});
    if (keep_) batch.keep = pixels;
    last = pixels;
    sent.push_back(pixels->data());
    ++next_;
    take(batch);
    take({});  // alive, nothing new
    return true;
  }
  std::vector<const void*> sent;
  std::weak_ptr<std::vector<std::uint16_t>> last;

private:
  Index count_, next_ = 0;
  bool keep_;
  model::Acquisition acquisition_;
};

TEST(Reader, WhatTheSourceKeepsIsNotCopied) {
  for (const bool keep : {true, false}) {
    Frames source(3, keep);
    const Corrector corrector(source.acquisition(), {});
    FrameAccount account(3);
    Reader reader(source, corrector, account, {});
    std::vector<const void*> got;
    while (auto piece = reader.queue().pop()) {
      ASSERT_EQ(piece->frames.size(), 1U);
      EXPECT_EQ(piece->frames[0].image.view<std::uint16_t>()(1, 1), piece->frames[0].id);
      got.push_back(piece->frames[0].image.data);
      reader.recycle(std::move(*piece));
    }
    reader.rethrow();
    if (keep) {
      EXPECT_EQ(got, source.sent);
      EXPECT_TRUE(source.last.expired()) << "let go after use";
    } else {
      EXPECT_EQ(got.size(), 3U);
      for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NE(got[i], source.sent[i]);
    }
    EXPECT_EQ(account.totals().received, 3);
  }
}

TEST(Reader, KeptFramesThatNeedCorrectionAreCopied) {
  Frames source(2, true);
  const Corrector corrector(source.acquisition(), {.bin = 2});
  FrameAccount account(2);
  Reader reader(source, corrector, account, {});
  Index frames = 0;
  while (auto piece = reader.queue().pop())
    for (const auto& f : piece->frames) {
      EXPECT_EQ(f.image.view<float>()(0, 0), 4.0F * static_cast<float>(f.id));
      ++frames;
    }
  EXPECT_EQ(frames, 2);
}

TEST(Reader, WhatIsTooMuchIsDroppedWithThatReason) {
  Frames source(100, true);
  const Corrector corrector(source.acquisition(), {});
  FrameAccount account(100);
  // Room for one piece: the second one finds it full unless the first has been taken.
  Reader reader(source, corrector, account, {.queue_bytes = 1, .when_full = WhenFull::drop});
  std::set<model::FrameId> frames;
  std::map<model::FrameId, double> values;
  for (Index i = 0; i < 1000 && account.totals().received < 100; ++i) ::usleep(1000);  // nobody takes anything
  while (auto piece = reader.queue().pop()) {
    for (const auto& f : piece->frames) {
      frames.insert(f.id);
      account.process(f.id);
    }
    for (const auto& [id, v] : piece->values) values[id] = v.at("monitor");
  }
  const auto totals = account.totals();
  EXPECT_EQ(totals.received, 100);
  EXPECT_EQ(totals.processed + totals.dropped, 100);
  EXPECT_EQ(totals.pending, 0);
  EXPECT_EQ(totals.processed, std::ssize(frames));
  EXPECT_GT(totals.dropped, 0);
  EXPECT_EQ(totals.reasons.size(), 1U);
  EXPECT_EQ(values.size(), 100U) << "values of dropped frames may belong to others, too";
}

TEST(Reader, KeepsTheTimesOfEveryStage) {
  const fs::path path = fs::temp_directory_path() / ("farfield_reader_" + std::to_string(::getpid()) + ".ffc");
  const core::SteadyClock clock;
  StageTimesWriter times(path, 0, "test", kStages, clock);
  Frames source(3, true);
  const Corrector corrector(source.acquisition(), {});
  FrameAccount account(3);
  {
    Reader reader(source, corrector, account, {.stage_times = &times, .clock = &clock});
    while (reader.queue().pop()) {}
  }
  times.commit();
  const auto got = read_stage_times(path);
  fs::remove(path);
  EXPECT_EQ(got.head.stages, kStages);
  ASSERT_EQ(got.times.size(), 6U) << "source and correct of three frames";
  for (const auto& t : got.times) EXPECT_LE(t.begin_s, t.end_s);
}

}  // namespace
}  // namespace farfield::pipeline
