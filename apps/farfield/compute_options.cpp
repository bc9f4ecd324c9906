#include "apps/farfield/compute_options.hpp"

#include <nlohmann/json.hpp>

#include "apps/farfield/flow_options.hpp"
#include "farfield/net/url.hpp"

namespace farfield::apps {

const core::BoundSchema<ComputeOptions>& compute_schema() {
  static const auto schema = [] {
    core::BoundSchema<ComputeOptions> s;
    s.add("service", &ComputeOptions::service, "URL of the service (after farfield login); none: the last one");
    s.add("json", &ComputeOptions::json, "one JSON object a line on stdout");
    return s;
  }();
  return schema;
}

ComputeOptions compute_options(const Arguments& arguments) {
  return compute_schema().make(part(arguments.given, compute_schema()));
}

ServiceClient compute_service(const ComputeOptions& options) {
  if (!options.service.empty()) return ServiceClient::logged_in(options.service);
  return ServiceClient::logged_in(Credentials(credentials_folder()).remote().origin);
}

nlohmann::json parse_answer(const std::string& text) {
  auto value = nlohmann::json::parse(text, nullptr, false);
  if (value.is_discarded())
    throw core::Error(core::ErrorCode::corrupt_data, "the service answered something that is no JSON");
  return value;
}

std::string segment(const std::string& text) { return net::percent_encode(text); }

std::string text_or_at_file(const std::string& given) {
  return given.starts_with('@') ? read_text(given.substr(1)) : given;
}

}  // namespace farfield::apps
