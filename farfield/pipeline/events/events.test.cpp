// Event building: the join against a plain one, runs of the facility and runs made here, whole and damaged, on any
// number of ranks.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "farfield/io/atomic_file.hpp"
#include "farfield/io/hdf5/file.hpp"
#include "farfield/io/xtc2/builder.hpp"
#include "farfield/math/random.hpp"
#include "farfield/parallel/threads.hpp"
#include "farfield/pipeline/events/part_file.hpp"
#include "farfield/pipeline/events/roles.hpp"
#include "farfield/pipeline/events/weather.hpp"

namespace farfield::pipeline::events {
namespace {

namespace fs = std::filesystem;
namespace xtc2 = io::xtc2;
using xtc2::DatagramBuilder;
using xtc2::NewValue;
using xtc2::Transition;

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "farfield_events_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path path;
};

using Bytes = std::vector<std::byte>;
void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }

// ---- the join

Bytes bare(EventTime time, Transition transition) { return DatagramBuilder(time, transition).finish(); }

/// Every stream has some of the times 1 .. events; datagrams differ in size.
std::vector<Bytes> random_streams(int streams, EventTime events, math::Random& random) {
  std::vector<Bytes> out(static_cast<std::size_t>(streams));
  for (auto& stream : out) {
    const auto rate = 1 + random.below(5);
    for (EventTime t = 1; t <= events; ++t) {
      if (random.below(rate) != 0) continue;
      auto datagram = bare(t << 32, Transition::l1_accept);
      const auto extra = static_cast<std::uint32_t>(random.below(40));
      const std::uint32_t extent = 12 + extra;
      std::memcpy(datagram.data() + 20, &extent, 4);
      datagram.resize(24 + extra);
      append(stream, datagram);
    }
  }
  return out;
}

std::map<EventTime, std::set<int>> plain_join(const std::vector<Bytes>& streams) {
  std::map<EventTime, std::set<int>> out;
  for (std::size_t s = 0; s < streams.size(); ++s)
    for (std::size_t at = 0; at < streams[s].size();) {
      const auto header = xtc2::load<xtc2::Header>(streams[s].data() + at);
      out[header.time()].insert(static_cast<int>(s));
      at += static_cast<std::size_t>(header.size());
    }
  return out;
}

TEST(Join, IsThatOfAPlainMap) {
  math::Random random(3);
  for (const int streams : {1, 2, 5, 10}) {
    const auto bytes = random_streams(streams, 500, random);
    Join join(streams);
    for (int s = 0; s < streams; ++s) join.set_bytes(s, bytes[static_cast<std::size_t>(s)], true);
    EventTable table;
    while (join.run(97, table) == JoinStop::limit) {}
    const auto expected = plain_join(bytes);
    ASSERT_EQ(table.size(), static_cast<Index>(expected.size()));
    Index event = 0;
    for (const auto& [time, there] : expected) {
      EXPECT_EQ(table.time(event), time);
      for (int s = 0; s < streams; ++s) {
        const auto place = table.of(event)[static_cast<std::size_t>(s)];
        ASSERT_EQ(place != kMissing, there.contains(s));
        if (place != kMissing) {
          EXPECT_EQ(xtc2::load<EventTime>(bytes[static_cast<std::size_t>(s)].data() + place), time);
        }
      }
      ++event;
    }
    EXPECT_EQ(join.late(), 0);
  }
}

TEST(Join, ComesToTheSameHoweverTheBytesArrive) {
  math::Random random(4);
  const auto bytes = random_streams(3, 300, random);
  const auto expected = plain_join(bytes);
  Join join(3);
  EventTable table;
  std::vector<std::size_t> given(3, 0);
  JoinStop stop = JoinStop::starved;
  while (stop != JoinStop::done) {
    for (int s = 0; s < 3; ++s) {
      auto& had = given[static_cast<std::size_t>(s)];
      const auto& all = bytes[static_cast<std::size_t>(s)];
      if (join.starved(s)) had = std::min(all.size(), had + 1 + random.below(60));
      join.set_bytes(s, std::span(all).first(had), had == all.size());
    }
    stop = join.run(1000, table);
  }
  ASSERT_EQ(table.size(), static_cast<Index>(expected.size()));
  EXPECT_TRUE(std::equal(table.times().begin(), table.times().end(), expected.begin(),
                         [](EventTime t, const auto& e) { return t == e.first; }));
}

TEST(Join, LeavesOutWhatComesLateOrTwiceAndStopsAtTransitions) {
  Bytes one, two;
  for (const EventTime t : {1, 2, 2, 5, 3, 6}) append(one, bare(t, Transition::l1_accept));
  for (const EventTime t : {2, 6}) append(two, bare(t, Transition::l1_accept));
  append(one, bare(7, Transition::disable));
  append(two, bare(7, Transition::disable));
  append(one, bare(8, Transition::l1_accept));
  Join join(2);
  join.set_bytes(0, one, true);
  join.set_bytes(1, two, true);
  EventTable table;
  EXPECT_EQ(join.run(100, table), JoinStop::transition);
  EXPECT_EQ(std::vector(table.times().begin(), table.times().end()), (std::vector<EventTime>{1, 2, 5, 6}));
  EXPECT_EQ(join.late(), 2);
  EXPECT_EQ(join.transition_time(), 7U);
  EXPECT_TRUE(join.at_transition(0) && join.at_transition(1));
  join.skip(0);
  join.skip(1);
  EXPECT_EQ(join.run(100, table), JoinStop::done);
  EXPECT_EQ(table.times().back(), 8U);
}

TEST(Join, ASizeThatCannotBeEndsItsStreamOnly) {
  Bytes one = bare(1, Transition::l1_accept), two = one;
  append(one, bare(2, Transition::l1_accept));
  append(two, bare(2, Transition::l1_accept));
  const std::uint32_t bad = 5;
  std::memcpy(one.data() + 24 + 20, &bad, 4);
  Join join(2);
  join.set_bytes(0, one, true);
  join.set_bytes(1, two, true);
  EventTable table;
  EXPECT_EQ(join.run(100, table), JoinStop::done);
  EXPECT_EQ(table.size(), 2);
  EXPECT_TRUE(join.broken(0));
  EXPECT_EQ(table.of(1)[0], kMissing);
}

// ---- filters

TEST(Filter, SaysWhatItDoesNotUnderstand) {
  for (const std::string text : {"a.b.c", "a.b.c >", "a.b.c ~ 3", "a.b.c > x", "a.b > 3", "a.b.c > 3 or a.b.c < 2",
                                 "a.b.c > 3 and", "a.b.c > nan", "a[x].b.c > 1"}) {
    try {
      Filter::parse(text);
      ADD_FAILURE() << text;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.code(), core::ErrorCode::invalid_argument) << text;
    }
  }
  EXPECT_TRUE(Filter::parse(" ").empty());
  EXPECT_FALSE(Filter::parse("epics.raw.HX2:DVD:GCC:01:PMON >= 41.0 and cam[2].raw.x.y != -3e2").empty());
}

// ---- whole runs

constexpr EventTime at(std::uint32_t ns) { return EventTime{7} << 32 | ns; }

/// A run of two streams: "cam" has every event, "gmd" those with an even number; a step of 50 events each, with a slow
/// value.
struct MadeRun {
  static constexpr std::uint32_t kEvents = 200, kPerStep = 50;
  xtc2::Names cam{
      .id = 0x100,
      .detector = "cam",
      .detector_type = "epix",
      .detector_id = "1",
      .algorithm = "raw",
      .fields = {
          {"image", xtc2::FieldType::u16, 2}, {"hits", xtc2::FieldType::u32, 1}, {"count", xtc2::FieldType::u32}}};
  xtc2::Names scan{.id = 0x101,
                   .detector = "scan",
                   .detector_type = "scan",
                   .detector_id = "",
                   .algorithm = "raw",
                   .fields = {{"motor", xtc2::FieldType::f64}}};
  xtc2::Names gmd{.id = 0x200,
                  .detector = "gmd",
                  .detector_type = "gmd",
                  .detector_id = "2",
                  .algorithm = "raw",
                  .fields = {{"energy", xtc2::FieldType::f64}, {"wave", xtc2::FieldType::f32, 1}}};
  std::vector<Bytes> data{2}, index{2};

  static std::uint16_t pixel(std::uint32_t event, std::uint32_t i) { return static_cast<std::uint16_t>(event + 3 * i); }
  void put(std::size_t stream, const Bytes& datagram) {
    xtc2::append_index(xtc2::Datagram::parse(datagram).value(), static_cast<Index>(data[stream].size()), index[stream]);
    append(data[stream], datagram);
  }
  void both(std::uint32_t ns, Transition transition) {
    for (const std::size_t s : {0U, 1U}) put(s, bare(at(ns), transition));
  }
  MadeRun() {
    DatagramBuilder first(at(0), Transition::configure), second(at(0), Transition::configure);
    first.add(cam);
    first.add(scan);
    second.add(gmd);
    put(0, first.finish());
    put(1, second.finish());
    both(1, Transition::begin_run);
    for (std::uint32_t e = 0; e < kEvents; ++e) {
      const std::uint32_t ns = 100 + 10 * e;
      if (e % kPerStep == 0) {
        if (e > 0) both(ns - 4, Transition::end_step);
        DatagramBuilder step(at(ns - 2), Transition::begin_step);
        const std::vector<NewValue> motor{NewValue::scalar(static_cast<double>(e / kPerStep))};
        step.add(scan, motor);
        put(0, step.finish());
        put(1, bare(at(ns - 2), Transition::begin_step));
      }
      DatagramBuilder event(at(ns), Transition::l1_accept);
      std::vector<std::uint16_t> image(6);
      for (std::uint32_t i = 0; i < 6; ++i) image[i] = pixel(e, i);
      const std::vector<std::uint32_t> hits(e % 4, e);
      const std::vector<NewValue> values{NewValue::array(std::span<const std::uint16_t>(image), {2, 3}),
                                         NewValue::array(std::span<const std::uint32_t>(hits), {e % 4}),
                                         NewValue::scalar(e)};
      event.add(cam, values);
      put(0, event.finish());
      if (e % 2 != 0) continue;
      DatagramBuilder pulse(at(ns), Transition::l1_accept);
      // Of very different sizes and signs: their sum in doubles depends on the order.
      const std::vector<float> wave{std::ldexp(1.0F + 0.1F * static_cast<float>(e), static_cast<int>(e % 64)),
                                    e % 4 == 0 ? 1e25F : -1e25F, 0.1F * static_cast<float>(e)};
      const std::vector<NewValue> energy{NewValue::scalar(0.01 * e),
                                         NewValue::array(std::span<const float>(wave), {3})};
      pulse.add(gmd, energy);
      put(1, pulse.finish());
    }
    both(100000, Transition::end_run);
  }
  void write(const fs::path& folder) const {
    fs::create_directories(folder / "smalldata");
    for (const std::size_t s : {0U, 1U}) {
      const std::string stem = "made-r0003-s00" + std::to_string(s) + "-c000";
      io::write_atomic(folder / (stem + ".xtc2"), data[s]);
      io::write_atomic(folder / "smalldata" / (stem + ".smd.xtc2"), index[s]);
    }
  }
};

RunOptions made_options() {
  RunOptions options;
  for (const std::string name : {"cam.raw.count", "gmd.raw.energy", "cam.raw.hits", "scan.raw.motor", "no.such.value"})
    options.reduction.values.push_back(xtc2::parse_value_name(name));
  options.reduction.sums.push_back(xtc2::parse_value_name("cam.raw.image"));
  options.batch_events = 7;
  options.index.block_events = 30;
  options.patience_s = options.fetch.patience_s = 20;
  return options;
}

EventTotals reduce(const fs::path& folder, const RunOptions& options, const fs::path& out, int ranks) {
  const auto files = xtc2::find_run(folder);
  const core::SteadyClock clock;
  std::optional<EventTotals> totals;
  parallel::run_as_ranks(ranks, [&](parallel::Communicator& c) {
    if (auto mine = reduce_run(files, options, out, c, clock, {})) totals = mine;
  });
  return totals.value();
}

template <class T>
std::vector<T> column(const fs::path& file, const std::string& name) {
  const auto array = io::hdf5::File::open(file).dataset(name).read().to<T, 1>();
  return {array.begin(), array.end()};
}

TEST(RolePlan, HasEveryRoleForAnyNumberOfRanks) {
  for (int size = 1; size < 40; ++size)
    for (const int builders : {1, 2, 5, 100}) {
      for (const int servers : {1, 2, 7}) {
        const auto plan = plan_roles(size, builders, servers);
        EXPECT_FALSE(plan.builders.empty() || plan.workers.empty() || plan.servers.empty());
        EXPECT_LE(plan.builders.size(), plan.workers.size());
        EXPECT_LE(plan.servers.size(), static_cast<std::size_t>(servers));
        if (size > 3) {
          EXPECT_EQ(plan.builders.size() + plan.workers.size() + plan.servers.size() + 1,
                    static_cast<std::size_t>(size));
        }
        if (size >= 3 + servers) {
          EXPECT_EQ(plan.servers.size(), static_cast<std::size_t>(servers));
        }
      }
    }
  EXPECT_THROW(plan_roles(0, 1, 1), core::Error);
  EXPECT_THROW(plan_roles(4, 1, 0), core::Error);
}

TEST(Reduce, IsTheSameOnAnyNumberOfRanks) {
  const Folder folder;
  MadeRun().write(folder.path);
  for (const int ranks : {1, 2, 3, 4, 7}) {
    SCOPED_TRACE(ranks);
    auto options = made_options();
    options.builders = ranks > 4 ? 2 : 1;
    options.stage_times = folder.path;
    const auto out = folder.path / ("out" + std::to_string(ranks) + ".h5");
    const auto totals = reduce(folder.path, options, out, ranks);
    EXPECT_EQ(totals.joined, MadeRun::kEvents);
    EXPECT_EQ(totals.processed, MadeRun::kEvents);
    EXPECT_TRUE(totals.bad.empty() && totals.rejected.empty() && totals.index_faults.empty()) << to_json(totals);

    const auto time = column<std::uint64_t>(out, "/time");
    const auto count = column<std::int64_t>(out, "/values/cam.raw.count"),
               lengths = column<std::int64_t>(out, "/values/cam.raw.hits_len");
    const auto energy = column<double>(out, "/values/gmd.raw.energy"),
               motor = column<double>(out, "/values/scan.raw.motor");
    const auto hits = column<std::uint32_t>(out, "/values/cam.raw.hits");
    const auto streams = column<std::uint64_t>(out, "/streams");
    ASSERT_EQ(time.size(), MadeRun::kEvents);
    std::size_t hit = 0;
    for (std::uint32_t e = 0; e < MadeRun::kEvents; ++e) {
      ASSERT_EQ(time[e], at(100 + 10 * e));
      ASSERT_EQ(count[e], e);
      ASSERT_EQ(motor[e], e / MadeRun::kPerStep);
      ASSERT_EQ(streams[e], e % 2 == 0 ? 3U : 1U);
      ASSERT_EQ(lengths[e], e % 4);
      for (std::int64_t i = 0; i < lengths[e]; ++i) ASSERT_EQ(hits.at(hit++), e);
      if (e % 2 == 0) {
        ASSERT_EQ(energy[e], 0.01 * e);
      } else {
        ASSERT_TRUE(std::isnan(energy[e]));
      }
    }
    EXPECT_FALSE(io::hdf5::File::open(out).has("/values/no.such.value"));
    const auto sum = io::hdf5::File::open(out).dataset("/sums/cam[0].raw.image").read().to<double, 2>();
    for (std::uint32_t i = 0; i < 6; ++i) {
      double expected = 0;
      for (std::uint32_t e = 0; e < MadeRun::kEvents; ++e) expected += MadeRun::pixel(e, i);
      EXPECT_EQ(sum.data()[i], expected);  // whole numbers far below 2^53: any order of adding is exact
    }
  }
  // Every event once in the times of the run on one rank.
  const auto times = read_stage_times(folder.path / "stage_times.rank00000");
  const auto weather = summarise({times});
  EXPECT_EQ(weather.workers.at(0).frames, MadeRun::kEvents);
}

TEST(Reduce, TheResultHasTheSameBitsOnAnyNumberOfRanksAndServers) {
  const Folder folder;
  MadeRun().write(folder.path);
  auto options = made_options();
  options.reduction.sums.push_back(xtc2::parse_value_name("gmd.raw.wave"));
  const auto out = folder.path / "out.h5";
  std::vector<std::byte> first;
  for (const auto& [ranks, builders, servers] :
       {std::array{1, 1, 1}, {2, 1, 1}, {4, 1, 1}, {5, 1, 2}, {7, 1, 1}, {7, 2, 2}, {7, 1, 3}, {9, 2, 4}}) {
    SCOPED_TRACE(fmt::format("{} ranks, {} builders, {} servers", ranks, builders, servers));
    options.builders = builders;
    options.servers = servers;
    const auto totals = reduce(folder.path, options, out, ranks);
    EXPECT_EQ(totals.processed, MadeRun::kEvents) << to_json(totals);
    const auto bytes = io::read_file(out, 1 << 24);
    if (first.empty()) first = bytes;
    EXPECT_TRUE(bytes == first);
    for (int s = 0; s < servers; ++s) EXPECT_FALSE(fs::exists(part_path(out, static_cast<std::size_t>(s))));
  }
}

TEST(Reduce, ARunThatFailsLeavesNeitherResultNorParts) {
  const Folder folder;
  MadeRun().write(folder.path);
  auto options = made_options();
  options.servers = 2;
  options.reduction.values.push_back(options.reduction.values.front());  // the same column twice cannot be made
  EXPECT_THROW(reduce(folder.path, options, folder.path / "out.h5", 6), core::Error);
  for (const auto& entry : fs::directory_iterator(folder.path))
    EXPECT_FALSE(entry.path().filename().string().starts_with("out.h5")) << entry.path();
}

TEST(Reduce, AFilterOnSmallDataKeepsFromFetching) {
  const Folder folder;
  MadeRun().write(folder.path);
  // The images of events that are not wanted cannot be read: nobody notices. Of the data of the other stream, none is
  // fetched: they came in place of their index.
  const auto data = folder.path / "made-r0003-s000-c000.xtc2";
  const auto files = xtc2::find_run(folder.path);
  auto options = made_options();
  options.filter = Filter::parse("gmd.raw.energy >= 0.5 and scan.raw.motor < 2");
  options.small_detectors = {"gmd"};
  options.fetch.gap_bytes = 0;
  const auto clean = reduce(folder.path, options, folder.path / "clean.h5", 2);
  Index wanted = 0;
  xtc2::DatagramReader all(xtc2::read_file_some(data));
  while (const auto datagram = all.next())
    if (const auto time = datagram->time(); datagram->header().is_event() && time >= at(100 + 10 * 50) &&
                                            time <= at(100 + 10 * 98) && (time - at(100)) % 20 == 0)
      wanted += static_cast<Index>(datagram->bytes().size());
  EXPECT_EQ(clean.fetched_bytes, wanted);
  EXPECT_EQ(clean.reads, 25);  // every second event: nothing lies side by side
  {
    auto bytes = io::read_file(data, 1 << 20);
    xtc2::DatagramReader reader(xtc2::read_memory_some(bytes));
    while (const auto datagram = reader.next())
      if (datagram->header().is_event() && datagram->time() < at(100 + 10 * 50))
        std::fill_n(bytes.begin() + reader.offset() + 24, 20, std::byte{0xff});
    io::write_atomic(data, bytes);
  }
  const auto totals = reduce(folder.path, options, folder.path / "out.h5", 3);
  // Energies 0.5 .. 0.98 are those of the even events 50 .. 98, within the first two steps.
  EXPECT_EQ(totals.processed, 25);
  EXPECT_EQ(totals.joined, MadeRun::kEvents);
  EXPECT_EQ(totals.rejected.at("no value for the filter"), 100);
  EXPECT_EQ(totals.rejected.at("filter"), 75);
  EXPECT_TRUE(totals.bad.empty()) << to_json(totals);
  EXPECT_EQ(column<std::int64_t>(folder.path / "out.h5", "/values/cam.raw.count"),
            column<std::int64_t>(folder.path / "clean.h5", "/values/cam.raw.count"));
  EXPECT_EQ(column<double>(folder.path / "out.h5", "/values/gmd.raw.energy").front(), 0.5);
}

TEST(Reduce, ReadsEventsThatLieSideBySideTogether) {
  const Folder folder;
  const MadeRun run;
  run.write(folder.path);
  auto options = made_options();
  options.batch_events = 1000;
  options.index.block_events = 1000;
  const auto totals = reduce(folder.path, options, folder.path / "out.h5", 1);
  EXPECT_EQ(totals.reads, 4 * 2);  // steps, which no block crosses, and streams
  EXPECT_LE(totals.fetched_bytes, static_cast<Index>(run.data[0].size() + run.data[1].size()));
  // With little room each read ends with an event; the result is the same.
  options.fetch.read_bytes = 500;
  options.fetch.gap_bytes = 0;
  const auto small = reduce(folder.path, options, folder.path / "small.h5", 1);
  EXPECT_GT(small.reads, 20);
  Index of_events = 0;
  for (const auto& data : run.data) {
    xtc2::DatagramReader reader(xtc2::read_memory_some(data));
    while (const auto datagram = reader.next())
      if (datagram->header().is_event()) of_events += static_cast<Index>(datagram->bytes().size());
  }
  EXPECT_EQ(small.fetched_bytes, of_events);
  EXPECT_EQ(column<std::uint32_t>(folder.path / "small.h5", "/values/cam.raw.hits"),
            column<std::uint32_t>(folder.path / "out.h5", "/values/cam.raw.hits"));
}

TEST(Reduce, TakesAllRunsOfAFile) {
  const Folder folder;
  const MadeRun one;
  MadeRun both;
  for (const std::size_t s : {0U, 1U}) {
    both.data[s].clear();
    both.index[s].clear();
    for (const std::uint64_t second : {0U, 1U}) {
      xtc2::DatagramReader reader(xtc2::read_memory_some(one.data[s]));
      while (const auto datagram = reader.next()) {
        Bytes bytes(datagram->bytes().begin(), datagram->bytes().end());
        const EventTime time = datagram->time() + (second << 32);
        std::memcpy(bytes.data(), &time, sizeof time);
        both.put(s, bytes);
      }
    }
  }
  both.write(folder.path);
  const auto totals = reduce(folder.path, made_options(), folder.path / "out.h5", 3);
  EXPECT_EQ(totals.processed, 2 * MadeRun::kEvents) << to_json(totals);
  EXPECT_TRUE(totals.bad.empty() && totals.index_faults.empty()) << to_json(totals);
  const auto count = column<std::int64_t>(folder.path / "out.h5", "/values/cam.raw.count");
  for (std::size_t e = 0; e < count.size(); ++e) ASSERT_EQ(count[e], e % MadeRun::kEvents);
}

TEST(Reduce, DamageCostsItsEventsAndIsCounted) {
  const Folder folder;
  MadeRun run;
  // Event 10: names that do not exist; 20: its data are of another event; the end of the data is cut off.
  xtc2::DatagramReader reader(xtc2::read_memory_some(run.data[0]));
  auto bytes = run.data[0];
  std::uint32_t event = 0;
  Index cut = 0;
  while (const auto datagram = reader.next()) {
    if (!datagram->header().is_event()) continue;
    auto* from = bytes.data() + reader.offset();
    if (event == 10) from[24] = std::byte{0x77};
    if (event == 20) from[0] = static_cast<std::byte>(std::to_integer<int>(from[0]) ^ 1);
    if (event == 198) cut = reader.offset() + 30;
    ++event;
  }
  bytes.resize(static_cast<std::size_t>(cut));
  run.data[0] = bytes;
  run.write(folder.path);
  const auto totals = reduce(folder.path, made_options(), folder.path / "out.h5", 2);
  EXPECT_EQ(totals.joined, MadeRun::kEvents);
  EXPECT_EQ(totals.processed, MadeRun::kEvents - 4);
  EXPECT_EQ(total(totals.bad), 4) << to_json(totals);
  EXPECT_EQ(totals.bad.at("its data are of another event"), 1);
  EXPECT_EQ(totals.bad.at("its data lie beyond the end of the file"), 2);
  const auto reasons =
      nlohmann::json::parse(io::hdf5::File::open(folder.path / "out.h5").dataset("/account/reasons").text());
  EXPECT_EQ(reasons.at("processed"), MadeRun::kEvents - 4);
}

TEST(Reduce, ADamagedTimeInAnIndexCostsNoMoreThanItsStep) {
  const Folder folder;
  MadeRun run;
  xtc2::DatagramReader reader(xtc2::read_memory_some(run.index[1]));
  int event = 0;
  while (const auto datagram = reader.next())
    if (datagram->header().is_event() && event++ == 10)
      run.index[1][static_cast<std::size_t>(reader.offset()) + 7] = std::byte{0x7f};
  run.write(folder.path);
  const auto totals = reduce(folder.path, made_options(), folder.path / "out.h5", 1);
  EXPECT_EQ(totals.joined, MadeRun::kEvents);
  EXPECT_EQ(totals.index_faults.at("event out of the order of time"), 15)
      << to_json(totals);  // 10 .. 24 of 25 in this step
  const auto energy = column<double>(folder.path / "out.h5", "/values/gmd.raw.energy");
  EXPECT_EQ(std::count_if(energy.begin(), energy.end(), [](double v) { return !std::isnan(v); }), 100 - 15);
}

TEST(Reduce, FollowsChunksOfARealRun) {
  const Folder folder;
  RunOptions options;
  for (const std::string name :
       {"xppcspad[0].raw.arrayRaw", "epics.raw.HX2:DVD:GCC:01:PMON", "scan.raw.motor2", "runinfo.runinfo.expt"})
    options.reduction.values.push_back(xtc2::parse_value_name(name));
  const auto totals = reduce("tests/data/xtc2/chunking", options, folder.path / "out.h5", 1);
  EXPECT_EQ(totals.processed, 15) << to_json(totals);
  EXPECT_TRUE(totals.index_faults.empty()) << to_json(totals);
  const auto epics = column<double>(folder.path / "out.h5", "/values/epics.raw.HX2:DVD:GCC:01:PMON");
  ASSERT_EQ(epics.size(), 15U);
  EXPECT_TRUE(std::isnan(epics.front()));  // the first SlowUpdate is in the second chunk
  EXPECT_EQ(epics.back(), 41.0);
  EXPECT_EQ(column<double>(folder.path / "out.h5", "/values/scan.raw.motor2"), std::vector<double>(15, 42.0));
  EXPECT_EQ(column<std::int64_t>(folder.path / "out.h5", "/values/xppcspad[0].raw.arrayRaw_len"),
            std::vector<std::int64_t>(15, 18));
  const auto expt = column<std::uint8_t>(folder.path / "out.h5", "/values/runinfo.runinfo.expt");
  EXPECT_EQ(std::string(expt.begin(), expt.begin() + 8), "xpptut15");
}

TEST(Reduce, AMissingChunkCostsItsEvents) {
  const Folder folder;
  fs::copy("tests/data/xtc2/chunking", folder.path, fs::copy_options::recursive);
  // A folder where a file is expected cannot be read, either.
  for (const bool directory : {false, true}) {
    fs::remove(folder.path / "data-r0001-s000-c001.xtc2");
    if (directory) fs::create_directory(folder.path / "data-r0001-s000-c001.xtc2");
    RunOptions options;
    options.fetch.patience_s = 0.05;
    const auto totals = reduce(folder.path, options, folder.path / "out.h5", 1);
    EXPECT_EQ(totals.processed, 10) << to_json(totals);
    EXPECT_EQ(total(totals.bad), 5) << to_json(totals);
  }
}

TEST(Reduce, JoinsIntegratingDetectors) {
  const Folder folder;
  RunOptions options;
  options.complete = true;
  const auto totals = reduce("tests/data/xtc2/intg_det", options, folder.path / "out.h5", 1);
  EXPECT_EQ(totals.joined, 17) << to_json(totals);
  EXPECT_EQ(column<std::uint64_t>(folder.path / "out.h5", "/streams"),
            std::vector<std::uint64_t>(static_cast<std::size_t>(totals.processed), 7));
  EXPECT_GT(totals.processed, 0);
}

TEST(Reduce, ARunIsReducedWhileItIsWritten) {
  const Folder folder;
  const MadeRun run;
  fs::create_directories(folder.path / "smalldata");
  const auto stem = [](std::size_t s) { return "made-r0003-s00" + std::to_string(s) + "-c000"; };
  const auto data = [&](std::size_t s) { return folder.path / (stem(s) + ".xtc2.inprogress"); };
  const auto index = [&](std::size_t s) { return folder.path / "smalldata" / (stem(s) + ".smd.xtc2.inprogress"); };
  for (const std::size_t s : {0U, 1U}) {
    std::ofstream{data(s)};
    std::ofstream{index(s)};
  }
  // In pieces that cut datagrams; the index before the data it speaks of.
  std::jthread writer([&] {
    constexpr std::size_t kPieces = 20;
    for (std::size_t piece = 0; piece < kPieces; ++piece)
      for (const std::size_t s : {0U, 1U})
        for (const auto& [path, bytes] : {std::pair(index(s), &run.index[s]), std::pair(data(s), &run.data[s])}) {
          const std::size_t begin = bytes->size() * piece / kPieces, end = bytes->size() * (piece + 1) / kPieces;
          std::ofstream(path, std::ios::binary | std::ios::app)
              .write(reinterpret_cast<const char*>(bytes->data() + begin), static_cast<std::streamsize>(end - begin));
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
  });
  const auto totals = reduce(folder.path, made_options(), folder.path / "out.h5", 2);
  writer.join();
  EXPECT_EQ(totals.processed, MadeRun::kEvents) << to_json(totals);
  EXPECT_TRUE(totals.bad.empty() && totals.index_faults.empty()) << to_json(totals);
}

TEST(Reduce, ARunWithoutItsEndIsOverWithTheLastRename) {
  const Folder folder;
  MadeRun run;
  for (auto& index : run.index) index.resize(index.size() - 24);  // no EndRun: the acquisition died
  run.write(folder.path);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  for (const auto& file : files) fs::rename(file, file.string() + ".inprogress");
  std::jthread writer([&] {
    for (const auto& file : files) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      fs::rename(file.string() + ".inprogress", file);
    }
  });
  // Were it not for the renames, it would wait for 20 s and say so.
  const auto totals = reduce(folder.path, made_options(), folder.path / "out.h5", 2);
  EXPECT_EQ(totals.processed, MadeRun::kEvents) << to_json(totals);
  EXPECT_TRUE(totals.bad.empty() && totals.index_faults.empty()) << to_json(totals);
}

TEST(Reduce, ARunThatNeverEndsIsOverAfterAWhile) {
  const Folder folder;
  MadeRun run;
  run.index[1].resize(run.index[1].size() - 24);  // no EndRun
  run.write(folder.path);
  const auto index = folder.path / "smalldata/made-r0003-s001-c000.smd.xtc2";
  fs::rename(index, index.string() + ".inprogress");
  auto options = made_options();
  options.patience_s = options.fetch.patience_s = 0.1;
  const auto totals = reduce(folder.path, options, folder.path / "out.h5", 2);
  EXPECT_EQ(totals.processed, MadeRun::kEvents);
  EXPECT_EQ(total(totals.index_faults), 2) << to_json(totals);  // no news; EndRun missing
}

TEST(Reduce, SaysWhatIsNotThere) {
  const Folder folder;
  const core::SteadyClock clock;
  EXPECT_THROW(xtc2::find_run(folder.path), core::Error);
  MadeRun().write(folder.path);
  EXPECT_THROW(xtc2::find_run(folder.path, 4), core::Error);
  auto options = made_options();
  options.small_detectors = {"nobody"};
  const auto alone = parallel::make_alone();
  try {
    reduce_run(xtc2::find_run(folder.path), options, folder.path / "out.h5", *alone, clock, {});
    ADD_FAILURE();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.code(), core::ErrorCode::not_found);
  }
  EXPECT_FALSE(fs::exists(folder.path / "out.h5"));
}

}  // namespace
}  // namespace farfield::pipeline::events
