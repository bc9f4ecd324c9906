#include "apps/farfield/flow_options.hpp"

#include <pwd.h>
#include <unistd.h>

#include <fmt/format.h>

#include <filesystem>

#include "farfield/io/atomic_file.hpp"

namespace farfield::apps {
namespace fs = std::filesystem;
using core::Error;

std::string read_text(const std::string& path) {
  const auto bytes = io::read_file(path, 16 << 20);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string user_name() {
  const passwd* user = getpwuid(geteuid());
  return user != nullptr ? user->pw_name : fmt::format("uid{}", geteuid());
}

services::flow::FlowRecord deploy_file(FlowHost& host, const std::string& file, std::string title,
                                       const std::string& schema_file, const std::string& flow,
                                       const std::string& identity) {
  services::flow::FlowRecord record;
  record.id = flow;
  record.title = title.empty() ? fs::path(file).stem().string() : std::move(title);
  record.definition = read_text(file);
  record.identity = identity;
  if (!schema_file.empty()) record.input_schema = read_text(schema_file);
  try {
    return host.deploy(std::move(record));
  } catch (Error& e) {
    throw e.at(file);
  }
}

}  // namespace farfield::apps
