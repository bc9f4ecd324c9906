#pragma once
// What this machine is called.

#include <string>

namespace farfield::apps {

/// "localhost" where it has no name.
std::string host_name();

}  // namespace farfield::apps
