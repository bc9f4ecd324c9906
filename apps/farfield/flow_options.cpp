#include "apps/farfield/flow_options.hpp"

#include <pwd.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "farfield/io/atomic_file.hpp"

namespace farfield::apps {
namespace fs = std::filesystem;
using core::Error;
using core::ErrorCode;

const core::BoundSchema<DatabaseOptions>& database_schema() {
  static const auto schema = [] {
    core::BoundSchema<DatabaseOptions> s;
    s.add("database", &DatabaseOptions::database,
          "sqlite:PATH or postgresql://USER@HOST/NAME (default: farfield/farfield.db below $XDG_STATE_HOME or "
          "~/.local/state)");
    return s;
  }();
  return schema;
}

std::unique_ptr<store::Database> open_database(const Arguments& arguments) {
  std::string address;
  if (const auto given = arguments.given.find("database"); given != arguments.given.end())
    address = std::get<std::string>(given->second);
  if (address.empty()) {
    const char *state = std::getenv("XDG_STATE_HOME"), *home = std::getenv("HOME");
    if ((state == nullptr || *state == '\0') && (home == nullptr || *home == '\0'))
      throw Error(ErrorCode::invalid_argument, "neither XDG_STATE_HOME nor HOME is set: say --database");
    const fs::path folder =
        (state != nullptr && *state != '\0' ? fs::path(state) : fs::path(home) / ".local/state") / "farfield";
    std::error_code error;
    fs::create_directories(folder, error);
    if (error)
      throw Error(ErrorCode::io, fmt::format("cannot make the folder: {}", error.message())).at(folder.string());
    address = "sqlite:" + (folder / "farfield.db").string();
  }
  auto database = store::Database::open(address, {.patience_s = 10});
  services::flow::migrate(*database);
  return database;
}

std::string read_text(const std::string& path) {
  const auto bytes = io::read_file(path, 16 << 20);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string user_name() {
  const passwd* user = getpwuid(geteuid());
  return user != nullptr ? user->pw_name : fmt::format("uid{}", geteuid());
}

services::flow::FlowRecord deploy_file(services::flow::Engine& engine, const std::string& file, std::string title,
                                       const std::string& schema_file, const std::string& flow) {
  services::flow::FlowRecord record;
  record.id = flow;
  record.title = title.empty() ? fs::path(file).stem().string() : std::move(title);
  record.owner = user_name();
  record.definition = read_text(file);
  if (!schema_file.empty()) record.input_schema = read_text(schema_file);
  try {
    return engine.deploy(std::move(record));
  } catch (Error& e) {
    throw e.at(file);
  }
}

}  // namespace farfield::apps
