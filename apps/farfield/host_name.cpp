#include "apps/farfield/host_name.hpp"

#include <unistd.h>

namespace farfield::apps {

std::string host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

}  // namespace farfield::apps
