#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "farfield/services/transfer/task.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;
using nlohmann::json;

namespace {
constexpr std::array<std::string_view, 5> kSync{"never", "exists", "size", "mtime", "checksum"};
constexpr std::array<std::string_view, 5> kStates{"queued", "active", "succeeded", "failed", "cancelled"};
constexpr std::size_t kMostItems = 100000;

/// A JSON object whose members are taken one by one; what is left over was not meant to be there.
class Members {
public:
  Members(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw Error(ErrorCode::invalid_argument, where_ + " must be a JSON object");
  }

  const json* find(const char* name) {
    taken_.insert(name);
    const auto member = object_.find(name);
    return member == object_.end() || member->is_null() ? nullptr : &*member;
  }
  [[noreturn]] void refuse(const char* name, const std::string& wanted) const {
    throw Error(ErrorCode::invalid_argument, fmt::format("{}: \"{}\" must be {}", where_, name, wanted));
  }

  void text(const char* name, std::string& into) {
    if (const json* value = find(name)) {
      if (!value->is_string()) refuse(name, "a string");
      into = value->get<std::string>();
    }
  }
  void truth(const char* name, bool& into) {
    if (const json* value = find(name)) {
      if (!value->is_boolean()) refuse(name, "true or false");
      into = value->get<bool>();
    }
  }
  void real(const char* name, double& into, double least, double most) {
    if (const json* value = find(name)) {
      const double number = value->is_number() ? value->get<double>() : NAN;
      if (!(number >= least && number <= most)) refuse(name, fmt::format("a number from {} to {}", least, most));
      into = number;
    }
  }
  template <class T>
  void integer(const char* name, T& into, std::int64_t least, std::int64_t most) {
    if (const json* value = find(name)) {
      // Above 2^63 the library holds an unsigned number: out of range in any case.
      const bool fits = value->is_number_integer() && !(value->is_number_unsigned() &&
                                                        value->get<std::uint64_t>() > static_cast<std::uint64_t>(most));
      if (!fits || value->get<std::int64_t>() < least || value->get<std::int64_t>() > most)
        refuse(name, fmt::format("a whole number from {} to {}", least, most));
      into = static_cast<T>(value->get<std::int64_t>());
    }
  }
  void texts(const char* name, std::vector<std::string>& into) {
    if (const json* value = find(name)) {
      if (!value->is_array()) refuse(name, "an array of strings");
      for (const auto& one : *value) {
        if (!one.is_string()) refuse(name, "an array of strings");
        into.push_back(one.get<std::string>());
      }
    }
  }
  void end() const {
    for (const auto& [name, value] : object_.items())
      if (!taken_.contains(name))
        throw Error(ErrorCode::invalid_argument, fmt::format("{}: there is no \"{}\"", where_, name));
  }

private:
  const json& object_;
  std::string where_;
  std::set<std::string> taken_;
};

Item item_from(const json& object, std::size_t number) {
  Item item;
  Members members(object, fmt::format("item {} of the transfer", number));
  for (const auto& [name, into] : {std::pair{"source", &item.source}, {"destination", &item.destination}}) {
    if (members.find(name) == nullptr) members.refuse(name, "given");
    members.text(name, *into);
  }
  members.truth("recursive", item.recursive);
  members.end();
  return item;
}

json request_json(const TaskRequest& request) {
  json items = json::array();
  for (const Item& item : request.items)
    items.push_back({{"source", item.source}, {"destination", item.destination}, {"recursive", item.recursive}});
  const JobOptions& o = request.options;
  json object{{"source", request.source},
              {"destination", request.destination},
              {"items", std::move(items)},
              {"label", request.label},
              {"owner", request.owner},
              {"deadline_s", request.deadline_s},
              {"sync", kSync[static_cast<std::size_t>(o.sync)]},
              {"include", o.filter.include},
              {"exclude", o.filter.exclude},
              {"concurrency", o.concurrency},
              {"bandwidth_Bps", o.bandwidth_Bps},
              {"attempts", o.attempts},
              {"streams", o.copy.streams},
              {"chunk_bytes", o.copy.chunk_bytes},
              {"checksum", o.copy.sha256 ? "sha256" : "crc32c"}};
  if (o.follow) object["follow"] = {{"marker", o.follow->marker}, {"quiet_s", o.follow->quiet_s}};
  return object;
}
}  // namespace

std::string_view name_of(TaskState state) { return kStates[static_cast<std::size_t>(state)]; }

TaskRequest request_from_json(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (object.is_discarded()) throw Error(ErrorCode::invalid_argument, "the transfer is not JSON");
  TaskRequest request;
  JobOptions& o = request.options;
  Members members(object, "transfer");
  for (const auto& [name, into] : {std::pair{"source", &request.source}, {"destination", &request.destination}}) {
    members.text(name, *into);
    if (into->empty()) members.refuse(name, "the name of a place");
  }
  const json* items = members.find("items");
  if (items == nullptr || !items->is_array() || items->empty() || items->size() > kMostItems)
    members.refuse("items", fmt::format("an array of 1 to {} items", kMostItems));
  for (const json& item : *items) request.items.push_back(item_from(item, request.items.size() + 1));
  members.text("label", request.label);
  members.text("owner", request.owner);
  members.real("deadline_s", request.deadline_s, 0, 1e9);
  if (members.find("sync") != nullptr) {
    std::string word;
    members.text("sync", word);
    const auto place = std::find(kSync.begin(), kSync.end(), word);
    if (place == kSync.end()) members.refuse("sync", fmt::format("one of {}", fmt::join(kSync, ", ")));
    o.sync = static_cast<Sync>(place - kSync.begin());
  }
  members.texts("include", o.filter.include);
  members.texts("exclude", o.filter.exclude);
  members.integer("concurrency", o.concurrency, 1, 1000);
  members.real("bandwidth_Bps", o.bandwidth_Bps, 0, 1e15);
  members.integer("attempts", o.attempts, 1, 1000);
  members.integer("streams", o.copy.streams, 1, 64);
  members.integer("chunk_bytes", o.copy.chunk_bytes, 4096, std::int64_t{1} << 30);
  std::string checksum = "crc32c";
  members.text("checksum", checksum);
  if (checksum != "crc32c" && checksum != "sha256") members.refuse("checksum", "crc32c or sha256");
  o.copy.sha256 = checksum == "sha256";
  if (const json* follow = members.find("follow")) {
    Members rule(*follow, "follow");
    o.follow.emplace();
    rule.text("marker", o.follow->marker);
    rule.real("quiet_s", o.follow->quiet_s, 0, 1e9);
    rule.end();
  }
  members.end();
  return request;
}

std::string to_json(const TaskRequest& request) { return request_json(request).dump(); }

namespace {
json status_json(const TaskStatus& status) {
  const Progress& p = status.progress;
  return {{"id", status.id},
          {"state", name_of(status.state)},
          {"problem", status.problem},
          {"submitted_s", status.submitted_s},
          {"changed_s", status.changed_s},
          {"attempt", status.attempt},
          {"progress",
           {{"files_found", p.files_found},
            {"files_copied", p.files_copied},
            {"files_skipped", p.files_skipped},
            {"files_failed", p.files_failed},
            {"bytes_found", p.bytes_found},
            {"bytes_read", p.bytes_read},
            {"links_left_out", p.links_left_out},
            {"others_left_out", p.others_left_out},
            {"listing", p.listing}}}};
}
/// Messages may hold names of files that are no UTF-8.
std::string text_of(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }
}  // namespace

std::string to_json(const TaskStatus& status) {
  json object = status_json(status);
  object["request"] = request_json(status.request);
  return text_of(object);
}

std::string summary_json(const TaskStatus& status) {
  json object = status_json(status);
  const TaskRequest& r = status.request;
  object["request"] = {{"label", r.label}, {"owner", r.owner}, {"source", r.source}, {"destination", r.destination}};
  return text_of(object);
}

}  // namespace farfield::services::transfer
