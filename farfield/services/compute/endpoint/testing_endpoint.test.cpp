#include "farfield/services/compute/endpoint/testing_endpoint.hpp"

namespace farfield::services::compute::testing {

std::vector<std::string> block_command() {
  // It is built beside this program.
  return {std::filesystem::read_symlink("/proc/self/exe").parent_path() / "farfield_test_block"};
}

Assignment call(const std::string& task, const std::string& function, const std::string& arguments) {
  Assignment a;
  a.key = {task, 1};
  a.function.name = function;
  a.function.kind = FunctionKind::verb;
  a.request.function = function;
  a.request.endpoint = "test";
  a.request.experiment = "2026-1-Garcia-1";
  a.request.arguments = arguments;
  return a;
}

}  // namespace farfield::services::compute::testing
