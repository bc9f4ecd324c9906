// farfield function register | list | show

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/compute_options.hpp"
#include "apps/farfield/flow_options.hpp"
#include "farfield/codec/checksum.hpp"
#include "farfield/io/atomic_file.hpp"

namespace farfield::apps {
namespace {
using core::Error;
using core::ErrorCode;
using nlohmann::json;

constexpr std::int64_t kLargestArchive = std::int64_t{1} << 30;  ///< it goes through memory

struct RegisterOptions {
  std::string archive;
};
const core::BoundSchema<RegisterOptions>& register_schema() {
  static const auto schema = [] {
    core::BoundSchema<RegisterOptions> s;
    s.add("archive", &RegisterOptions::archive, "code to upload with it, a .tar.zst of at most 1 GiB");
    return s;
  }();
  return schema;
}

void print_function(const json& function, const ComputeOptions& options) {
  if (!options.json) {
    fmt::print("{}\n", function.dump(2));
    return;
  }
  json line = function;
  line["message_type"] = "function";
  fmt::print("{}\n", line.dump());
}

int register_function(const Arguments& arguments, const Session& session) {
  const auto options = register_schema().make(part(arguments.given, register_schema()));
  const auto common = compute_options(arguments);
  json function = json::parse(read_text(arguments.inputs.at(0)), nullptr, false);
  if (!function.is_object())
    throw Error(ErrorCode::invalid_argument, fmt::format("{} must hold a JSON object", arguments.inputs[0]));
  const auto service = compute_service(common);
  if (!options.archive.empty()) {
    const auto bytes = io::read_file(options.archive, kLargestArchive);
    const std::string sha = codec::sha256_hex(bytes);
    service.call("PUT", "/api/v1/archives/" + sha, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                 session.stop);
    function["kind"] = "code";
    function["archive"] = sha;
  }
  const json stored = parse_answer(service.call("POST", "/api/v1/functions", function.dump(), session.stop));
  if (common.json) print_function(stored, common);
  else fmt::print("{}@{}\n", stored.value("name", ""), stored.value("version", 0));
  return core::kExitOk;
}

int list(const Arguments& arguments, const Session& session) {
  const auto options = compute_options(arguments);
  const json answer = parse_answer(compute_service(options).call("GET", "/api/v1/functions", {}, session.stop));
  for (const json& f : answer.at("functions")) {
    if (options.json) print_function(f, options);
    else
      fmt::print("{:<40} {:<8} {:<20} {}\n", fmt::format("{}@{}", f.value("name", ""), f.value("version", 0)),
                 f.value("kind", ""), f.value("experiment", ""), f.value("summary", ""));
  }
  return core::kExitOk;
}

int show(const Arguments& arguments, const Session& session) {
  const auto options = compute_options(arguments);
  print_function(parse_answer(compute_service(options).call(
                     "GET", "/api/v1/functions/" + segment(arguments.inputs.at(0)), {}, session.stop)),
                 options);
  return core::kExitOk;
}
}  // namespace

Command function_register_command() {
  return {{"function", "register"},
          "register a command, or code with --archive, from a JSON file; prints its name and version",
          {"FILE"},
          {register_schema(), compute_schema()},
          register_function};
}
Command function_list_command() {
  return {{"function", "list"}, "functions that you may call", {}, {compute_schema()}, list};
}
Command function_show_command() {
  return {{"function", "show"},
          "one function, NAME or NAME@VERSION, with the schema of its arguments",
          {"FUNCTION"},
          {compute_schema()},
          show};
}

}  // namespace farfield::apps
