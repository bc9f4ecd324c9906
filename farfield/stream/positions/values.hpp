#pragma once
// Positions and other numbers that come beside the images: on a second socket, in a file that grows.

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "farfield/model/frame.hpp"
#include "farfield/stream/feed.hpp"

namespace farfield::stream {

/// Numbers of one frame, or of one moment.
struct Reading {
  std::optional<model::FrameId> frame;
  std::optional<double> time_s;
  model::Values values;
};

struct ValueSource {
  virtual ~ValueSource() = default;
  /// Hands on what has come since; does not wait. False: no more will come. What cannot be read is counted.
  virtual bool poll(const std::function<void(Reading)>& take) = 0;
  Index unreadable = 0;
  std::string last_unreadable{};
};

/// How names and units of a source become those of the model: "x_m=sample_x:1e-6" takes sample_x times 1e-6 as x_m.
/// Names that are not mentioned keep theirs.
class Renaming {
public:
  Renaming() = default;
  /// Comma-separated entries. Throws `invalid_argument`.
  explicit Renaming(const std::string& text);
  void add(model::Values& values, std::string_view name, double number) const;

private:
  struct Entry {
    std::string to, from;
    double factor = 1;
  };
  std::vector<Entry> entries_;
};

/// Messages of JSON: an object or a list of them. "frame" or "time_s" says what the numbers belong to; {"end": true}
/// that no more will come. Of several parts the last one is read (the first is a topic).
class JsonValues final : public ValueSource {
public:
  JsonValues(std::unique_ptr<Feed> feed, Renaming renaming) : feed_(std::move(feed)), renaming_(std::move(renaming)) {}
  bool poll(const std::function<void(Reading)>& take) override;

private:
  std::unique_ptr<Feed> feed_;
  Renaming renaming_;
  bool ended_ = false;
};

/// bluesky's documents as its 0MQ publisher sends them, "prefix name document" in one message. The document may be JSON
/// or MessagePack; Python pickles are not read (publish with serializer=json.dumps or msgpack.dumps). Events and event
/// pages become readings of frame seq_num - 1 with their time; "stop" is the end of a run.
class BlueskyValues final : public ValueSource {
public:
  BlueskyValues(std::unique_ptr<Feed> feed, Renaming renaming)
      : feed_(std::move(feed)), renaming_(std::move(renaming)) {}
  bool poll(const std::function<void(Reading)>& take) override;

private:
  std::unique_ptr<Feed> feed_;
  Renaming renaming_;
  bool ended_ = false;
};

/// A table that is being appended to: a heading of names, then rows of numbers, separated by commas. A column "frame"
/// or "time_s" says what a row belongs to; without either, rows are frames 0, 1, 2 ... A row counts when its line has
/// ended. The file may not be there yet.
class CsvValues final : public ValueSource {
public:
  CsvValues(std::filesystem::path path, Renaming renaming) : path_(std::move(path)), renaming_(std::move(renaming)) {}
  bool poll(const std::function<void(Reading)>& take) override;

private:
  void row(std::string_view line, const std::function<void(Reading)>& take);

  std::filesystem::path path_;
  Renaming renaming_;
  std::vector<std::string> names_;
  std::string rest_;
  std::int64_t offset_ = 0;
  model::FrameId next_ = 0;
};

/// "tcp://host:port" (PULL), "sub+tcp://..." (SUB), "bluesky+tcp://..." (SUB, documents), or a file (CSV).
/// Throws as the sockets do.
std::unique_ptr<ValueSource> open_values(const std::string& uri, const std::string& renaming);

}  // namespace farfield::stream
