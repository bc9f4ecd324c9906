#include "farfield/stream/positions/values.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace farfield::stream {

using core::Error;
using core::ErrorCode;
using nlohmann::json;

namespace {

constexpr int kMessagesPerPoll = 10000;
constexpr double kMostFrames = 9e15;
constexpr std::size_t kLongestLine = 1 << 20, kPieceBytes = 1 << 20;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::optional<model::FrameId> frame_of(double number) {
  if (!(number >= 0 && number < kMostFrames) || number != std::trunc(number)) return std::nullopt;
  return static_cast<model::FrameId>(number);
}

[[noreturn]] void corrupt(const std::string& what) { throw Error(ErrorCode::corrupt_data, what); }

/// Hands each message to `read` until there is none; what it throws is counted. False: the feed has ended.
bool for_each_message(Feed& feed, ValueSource& source, const std::function<void(const Envelope&)>& read) {
  for (int i = 0; i < kMessagesPerPoll; ++i) {
    try {
      Envelope message;
      const auto outcome = feed.receive(message, std::chrono::milliseconds(0), {});
      if (outcome != FeedOutcome::message) return outcome != FeedOutcome::ended;
      read(message);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::corrupt_data) throw;
      ++source.unreadable;
      source.last_unreadable = e.what();
    }
  }
  return true;
}

Reading reading_of(const json& object, const Renaming& renaming) {
  if (!object.is_object()) corrupt("a reading must be a JSON object");
  Reading out;
  for (const auto& [name, value] : object.items()) {
    if (!value.is_number()) continue;
    const double number = value.get<double>();
    if (name == "frame") {
      out.frame = frame_of(number);
      if (!out.frame) corrupt(fmt::format("\"frame\" is {}; it must be a whole number >= 0", number));
    } else if (name == "time_s") {
      out.time_s = number;
    } else {
      renaming.add(out.values, name, number);
    }
  }
  if (!out.frame && !out.time_s) corrupt("a reading needs \"frame\" or \"time_s\"");
  return out;
}

std::optional<double> parse_number(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '+')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> cells(std::string_view line) {
  std::vector<std::string_view> out;
  for (;;) {
    const auto comma = line.find(',');
    out.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return out;
    line.remove_prefix(comma + 1);
  }
}

}  // namespace

Renaming::Renaming(const std::string& text) {
  if (text.empty()) return;
  for (const auto entry : cells(text)) {
    const auto refuse = [&](const char* why) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("\"{}\" {}; it must be NAME=NAME[:FACTOR], as x_m=sample_x:1e-6", entry, why));
    };
    const auto equals = entry.find('='), colon = entry.find(':');
    if (equals == std::string_view::npos || equals == 0) refuse("has no name to give");
    Entry e{std::string(entry.substr(0, equals)),
            std::string(entry.substr(equals + 1, colon == std::string_view::npos ? colon : colon - equals - 1)), 1};
    if (e.from.empty()) refuse("has no name to take");
    if (colon != std::string_view::npos) {
      const auto factor = parse_number(entry.substr(colon + 1));
      if (!factor || !std::isfinite(*factor)) refuse("has a factor that is no number");
      e.factor = *factor;
    }
    entries_.push_back(std::move(e));
  }
}

void Renaming::add(model::Values& values, std::string_view name, double number) const {
  if (!std::isfinite(number)) return;
  bool renamed = false;
  for (const auto& e : entries_)
    if (e.from == name) {
      values[e.to] = number * e.factor;
      renamed = true;
    }
  if (!renamed) values[std::string(name)] = number;
}

bool JsonValues::poll(const std::function<void(Reading)>& take) {
  if (ended_) return false;
  const bool open = for_each_message(*feed_, *this, [&](const Envelope& message) {
    const auto text = text_of(message.parts.back());
    const auto parsed = json::parse(text.begin(), text.end(), nullptr, false);
    if (parsed.is_discarded()) corrupt("a message is not JSON");
    if (parsed.is_object() && parsed.value("end", json(false)) == json(true)) {
      ended_ = true;
    } else if (parsed.is_array()) {
      for (const auto& object : parsed) take(reading_of(object, renaming_));
    } else {
      take(reading_of(parsed, renaming_));
    }
  });
  if (!open) ended_ = true;
  return !ended_;
}

namespace {

json document_of(std::string_view bytes) {
  if (bytes.starts_with('{')) return json::parse(bytes.begin(), bytes.end(), nullptr, false);
  if (!bytes.empty() && static_cast<unsigned char>(bytes.front()) == 0x80 && bytes.size() > 1 && bytes[1] <= 5)
    corrupt("a Python pickle is not read: publish with serializer=json.dumps or msgpack.dumps");
  return json::from_msgpack(bytes.begin(), bytes.end(), true, false);
}

void add_event(const json& event, const Renaming& renaming, const std::function<void(Reading)>& take) {
  if (!event.contains("seq_num") || !event["seq_num"].is_number() || !event.contains("data") ||
      !event["data"].is_object())
    corrupt("an event needs seq_num and data");
  Reading out;
  out.frame = frame_of(event["seq_num"].get<double>() - 1);
  if (!out.frame) corrupt("seq_num must be a whole number >= 1");
  for (const auto& [name, value] : event["data"].items())
    if (value.is_number()) renaming.add(out.values, name, value.get<double>());
  take(std::move(out));
}

/// Every field of a page is a list with one entry for each event.
void add_page(const json& page, const Renaming& renaming, const std::function<void(Reading)>& take) {
  if (!page.contains("seq_num") || !page["seq_num"].is_array() || !page.contains("data") || !page["data"].is_object())
    corrupt("an event page needs lists of seq_num and data");
  for (std::size_t i = 0; i < page["seq_num"].size(); ++i) {
    json event{{"seq_num", page["seq_num"][i]}, {"data", json::object()}};
    for (const auto& [name, column] : page["data"].items())
      if (column.is_array() && i < column.size()) event["data"][name] = column[i];
    add_event(event, renaming, take);
  }
}

}  // namespace

bool BlueskyValues::poll(const std::function<void(Reading)>& take) {
  if (ended_) return false;
  const bool open = for_each_message(*feed_, *this, [&](const Envelope& message) {
    // prefix, a blank, name, a blank, the document, in which there may be anything.
    const auto text = text_of(message.parts.back());
    const auto first = text.find(' ');
    const auto second = first == std::string_view::npos ? first : text.find(' ', first + 1);
    if (second == std::string_view::npos) corrupt("a message is not \"prefix name document\"");
    const auto name = text.substr(first + 1, second - first - 1);
    if (name == "stop") ended_ = true;
    if (name != "event" && name != "event_page") return;
    const auto document = document_of(text.substr(second + 1));
    if (!document.is_object()) corrupt(fmt::format("the document of an {} is neither JSON nor MessagePack", name));
    if (name == "event") add_event(document, renaming_, take);
    else add_page(document, renaming_, take);
  });
  if (!open) ended_ = true;
  return !ended_;
}

bool CsvValues::poll(const std::function<void(Reading)>& take) {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return true;  // not there yet
  file.seekg(offset_);
  std::string piece(kPieceBytes, '\0');
  file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
  piece.resize(static_cast<std::size_t>(file.gcount()));
  offset_ += static_cast<std::int64_t>(piece.size());
  rest_ += piece;
  for (std::size_t end = 0; (end = rest_.find('\n')) != std::string::npos;) {
    const std::string line = rest_.substr(0, end);
    rest_.erase(0, end + 1);
    try {
      row(line, take);
    } catch (const Error& e) {
      ++unreadable;
      last_unreadable = Error(e).at(path_.string()).what();
    }
  }
  if (rest_.size() > kLongestLine) {
    ++unreadable;
    last_unreadable = fmt::format("a line of more than {} bytes ({})", kLongestLine, path_.string());
    rest_.clear();
  }
  return true;
}

void CsvValues::row(std::string_view line, const std::function<void(Reading)>& take) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return;
  if (names_.empty()) {
    while (line.starts_with('#') || line.starts_with(' ')) line.remove_prefix(1);
    for (auto cell : cells(line)) {
      while (cell.starts_with(' ')) cell.remove_prefix(1);
      while (cell.ends_with(' ')) cell.remove_suffix(1);
      names_.emplace_back(cell);
    }
    return;
  }
  if (line.starts_with('#')) return;
  const auto values = cells(line);
  if (values.size() != names_.size())
    corrupt(fmt::format("a row of {} columns under a heading of {}", values.size(), names_.size()));
  Reading out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto number = parse_number(values[i]);
    if (!number) {
      if (values[i].empty()) continue;
      corrupt(fmt::format("\"{}\" in column {} is not a number", values[i], names_[i]));
    }
    if (names_[i] == "frame") {
      out.frame = frame_of(*number);
      if (!out.frame) corrupt(fmt::format("frame {} must be a whole number >= 0", *number));
    } else if (names_[i] == "time_s") {
      if (!std::isfinite(*number)) corrupt(fmt::format("time {} must be finite", *number));
      out.time_s = number;
    } else {
      renaming_.add(out.values, names_[i], *number);
    }
  }
  if (!out.frame && !out.time_s) out.frame = next_++;
  take(std::move(out));
}

std::unique_ptr<ValueSource> open_values(const std::string& uri, const std::string& renaming) {
  const Renaming names(renaming);
  const auto after = [&](std::string_view prefix) { return uri.substr(prefix.size()); };
  if (uri.starts_with("bluesky+"))
    return std::make_unique<BlueskyValues>(std::make_unique<SocketFeed>(net::ZmqKind::sub, after("bluesky+")), names);
  if (uri.starts_with("sub+"))
    return std::make_unique<JsonValues>(std::make_unique<SocketFeed>(net::ZmqKind::sub, after("sub+")), names);
  if (uri.find("://") != std::string::npos)
    return std::make_unique<JsonValues>(
        std::make_unique<SocketFeed>(net::ZmqKind::pull, uri, net::ZmqOptions{.high_water_mark = 100000}), names);
  return std::make_unique<CsvValues>(uri, names);
}

}  // namespace farfield::stream
