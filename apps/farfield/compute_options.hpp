#pragma once
// What the commands about tasks and functions share.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/farfield/command.hpp"
#include "apps/farfield/service_client.hpp"

namespace farfield::apps {

struct ComputeOptions {
  std::string service;
  bool json = false;
};
const core::BoundSchema<ComputeOptions>& compute_schema();
ComputeOptions compute_options(const Arguments& arguments);

/// The service of --service, or the one that was logged in to last.
ServiceClient compute_service(const ComputeOptions& options);
/// Throws `corrupt_data` where the service does not answer in JSON.
nlohmann::json parse_answer(const std::string& text);

/// One segment of a path, percent-encoded.
std::string segment(const std::string& text);
/// JSON as it was typed, or, after '@', the file that holds it.
std::string text_or_at_file(const std::string& given);

}  // namespace farfield::apps
