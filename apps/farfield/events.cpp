// farfield events dump|count|index: single files of LCLS-II data.

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "farfield/io/atomic_file.hpp"
#include "farfield/io/xtc2/dump.hpp"
#include "farfield/io/xtc2/reader.hpp"
#include "farfield/io/xtc2/run_files.hpp"
#include "farfield/io/xtc2/smalldata.hpp"

namespace farfield::apps {
namespace {

namespace fs = std::filesystem;
namespace xtc2 = io::xtc2;
using core::Error;
using core::ErrorCode;
using core::Index;

/// Faults go to stderr, as many as somebody reads; all of them are counted.
class Faults {
public:
  explicit Faults(std::string file) : file_(std::move(file)) {}
  void add(const std::string& fault) {
    constexpr Index kShown = 20;
    if (count_++ < kShown) fmt::print(stderr, "farfield: {}: {}\n", file_, fault);
  }
  Index count() const { return count_; }

private:
  std::string file_;
  Index count_ = 0;
};

/// Calls take(datagram, offset, number) for each datagram of a file, until it returns false.
template <class F>
void for_each_datagram(const std::string& file, Faults& faults, const std::stop_token& stop, F&& take) {
  xtc2::DatagramReader reader(xtc2::read_file_some(file));
  Index number = 0;
  while (const auto datagram = reader.next()) {
    if (stop.stop_requested()) throw Error(ErrorCode::cancelled, "interrupted");
    if (!take(*datagram, reader.offset(), ++number)) return;
  }
  if (const auto rest = reader.rest(); !rest.empty()) faults.add(rest);
  if (number == 0) throw Error(ErrorCode::corrupt_data, "no datagram: not an xtc2 file").at(file);
}

/// The names that a later chunk needs: those of the first Configure of another file.
xtc2::NamesTable names_of(const std::string& file) {
  xtc2::DatagramReader reader(xtc2::read_file_some(file));
  const auto first = reader.next();
  if (!first || first->transition() != xtc2::Transition::configure)
    throw Error(ErrorCode::invalid_argument, "the file does not begin with a Configure datagram").at(file);
  xtc2::NamesTable table;
  xtc2::Contents contents;
  xtc2::read_contents(*first, table, contents);
  return table;
}

int exit_code(Index faults) { return faults > 0 ? core::kExitPartial : core::kExitOk; }

struct DumpCommandOptions {
  std::string names_from;
  Index words = 8, events = 0;
  bool headers = false;
};
const core::BoundSchema<DumpCommandOptions>& dump_schema() {
  using O = DumpCommandOptions;
  static const auto schema = [] {
    core::BoundSchema<O> s;
    s.add("names-from", &O::names_from,
          "the first chunk of the stream, whose Configure names the values of a later one");
    s.add("words", &O::words, "elements shown of each array", {.min = 0, .max = 1e9});
    s.add("events", &O::events, "stop after so many datagrams; 0: all", {.min = 0});
    s.add("headers", &O::headers, "one line for each datagram, without its values");
    return s;
  }();
  return schema;
}

int dump(const Arguments& arguments, const Session& session) {
  const auto options = dump_schema().make(arguments.given);
  const std::string& file = arguments.inputs.at(0);
  auto table = options.names_from.empty() ? xtc2::NamesTable() : names_of(options.names_from);
  Faults faults(file);
  std::string text;
  std::vector<std::string> found;
  for_each_datagram(file, faults, session.stop, [&](const xtc2::Datagram& datagram, Index, Index number) {
    text.clear();
    found.clear();
    xtc2::dump(datagram, number, table, {!options.headers, options.words}, text, found);
    fmt::print("{}", text);
    for (const auto& fault : found) faults.add(fmt::format("event {}: {}", number, fault));
    return number != options.events;
  });
  if (faults.count() > 0) fmt::print(stderr, "farfield: {}: {} faults\n", file, faults.count());
  return exit_code(faults.count());
}

struct CountCommandOptions {
  bool json = false;
};
const core::BoundSchema<CountCommandOptions>& count_schema() {
  static const auto schema = [] {
    core::BoundSchema<CountCommandOptions> s;
    s.add("json", &CountCommandOptions::json, "one JSON object for each file");
    return s;
  }();
  return schema;
}

struct Counts {
  std::map<xtc2::Transition, Index> datagrams;
  Index bytes = 0, damaged = 0;
  xtc2::EventTime first = 0, last = 0;  ///< of events
  std::map<std::string, Index> detectors;  ///< events with values of DETECTOR[SEGMENT].ALGORITHM
};

std::string time_text(xtc2::EventTime time) {
  return fmt::format("{}.{:09}", xtc2::seconds(time), xtc2::nanoseconds(time));
}

void print_counts(const std::string& file, const Counts& counts, Index faults, bool json) {
  const auto events = counts.datagrams.find(xtc2::Transition::l1_accept);
  if (json) {
    nlohmann::ordered_json object{{"message_type", "counts"}, {"file", file}};
    for (const auto& [transition, count] : counts.datagrams) object["datagrams"][std::string(name(transition))] = count;
    for (const auto& [detector, count] : counts.detectors) object["detectors"][detector] = count;
    object["bytes"] = counts.bytes;
    object["damaged"] = counts.damaged;
    object["faults"] = faults;
    if (events != counts.datagrams.end()) object.update({{"first_event", counts.first}, {"last_event", counts.last}});
    fmt::print("{}\n", object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  fmt::print("{}: {} bytes, {} damaged, {} faults\n", file, counts.bytes, counts.damaged, faults);
  for (const auto& [transition, count] : counts.datagrams) fmt::print("  {:>12} {}\n", name(transition), count);
  if (events != counts.datagrams.end())
    fmt::print("  events from {} to {}\n", time_text(counts.first), time_text(counts.last));
  for (const auto& [detector, count] : counts.detectors) fmt::print("  {:>12} events with {}\n", count, detector);
}

int count(const Arguments& arguments, const Session& session) {
  const auto options = count_schema().make(arguments.given);
  Index all_faults = 0;
  xtc2::NamesTable table;  // goes on from file to file: chunks in their order
  for (const auto& file : arguments.inputs) {
    Counts counts;
    Faults faults(file);
    xtc2::Contents contents;
    std::vector<xtc2::Value> values;
    for_each_datagram(file, faults, session.stop, [&](const xtc2::Datagram& datagram, Index, Index number) {
      ++counts.datagrams[datagram.transition()];
      counts.bytes += static_cast<Index>(datagram.bytes().size());
      xtc2::read_contents(datagram, table, contents);
      for (const auto& fault : contents.faults) faults.add(fmt::format("event {}: {}", number, fault));
      bool damaged = datagram.header().xtc.damage != 0;
      for (const auto& item : contents.items) {
        const auto* block = std::get_if<xtc2::Block>(&item);
        if (block == nullptr) continue;
        damaged = damaged || block->damage != 0;
        if (const auto read = block->values(values); !read)
          faults.add(fmt::format("event {}: {}", number, read.error().message()));
        const auto& n = *block->names;
        if (datagram.header().is_event())
          ++counts.detectors[fmt::format("{}[{}].{}", n.detector, n.segment, n.algorithm)];
      }
      if (damaged) ++counts.damaged;
      if (datagram.header().is_event()) {
        if (counts.datagrams[xtc2::Transition::l1_accept] == 1) counts.first = datagram.time();
        counts.last = datagram.time();
      }
      return true;
    });
    print_counts(file, counts, faults.count(), options.json);
    all_faults += faults.count();
  }
  return exit_code(all_faults);
}

struct IndexCommandOptions {
  std::string out;
};
const core::BoundSchema<IndexCommandOptions>& index_schema() {
  static const auto schema = [] {
    core::BoundSchema<IndexCommandOptions> s;
    s.add("out", &IndexCommandOptions::out, "the index (default: smalldata/NAME.smd.xtc2 beside the first file)");
    return s;
  }();
  return schema;
}

int index(const Arguments& arguments, const Session& session) {
  fs::path out = index_schema().make(arguments.given).out;
  const fs::path first = arguments.inputs.at(0);
  if (out.empty()) {
    std::string name = first.filename().string();
    xtc2::parse_file_name(name);  // says what is wrong with it
    name.insert(name.rfind(".xtc2"), ".smd");
    out = first.parent_path() / "smalldata" / name;
    std::error_code error;
    fs::create_directories(out.parent_path(), error);
    if (error)
      throw Error(ErrorCode::io, fmt::format("cannot make the folder: {}", error.message()))
          .at(out.parent_path().string());
  }
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  io::AtomicFile file(out);
  std::vector<std::byte> bytes;
  Index events = 0, faults = 0;
  for (const auto& chunk : arguments.inputs) {
    Faults found(chunk);
    for_each_datagram(chunk, found, session.stop, [&](const xtc2::Datagram& datagram, Index offset, Index) {
      xtc2::append_index(datagram, offset, bytes);
      if (datagram.header().is_event()) ++events;
      if (bytes.size() >= kPiece) {
        file.write(bytes);
        bytes.clear();
      }
      return true;
    });
    faults += found.count();
  }
  file.write(bytes);
  file.commit();
  fmt::print("{}: {} events\n", out.string(), events);
  return exit_code(faults);
}

}  // namespace

std::vector<Command> event_commands() {
  return {{{"events", "dump"}, "the datagrams of an xtc2 file as text", {"FILE"}, {dump_schema()}, dump},
          {{"events", "count"},
           "what is in xtc2 files: datagrams, detectors, damage; chunks of a stream in their order",
           {"FILE..."},
           {count_schema()},
           count},
          {{"events", "index"},
           "the smalldata of a stream: where each event stands in its chunks, which are given in their order",
           {"FILE..."},
           {index_schema()},
           index},
          events_reduce_command(),
          events_report_command()};
}

}  // namespace farfield::apps
