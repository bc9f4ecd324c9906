#include "apps/farfield/version.hpp"

#include <fmt/format.h>

#include "farfield/core/cpu.hpp"
#include "farfield/parallel/communicator.hpp"

namespace farfield::apps {

std::string version() { return FARFIELD_VERSION; }

std::string version_text() {
  return fmt::format(
      "farfield {}\n"
      "revision         {}\n"
      "instruction set  {}\n"
      "build            {}, {}, MPI {}\n"
      "licence          Apache-2.0; this binary contains FFTW and is therefore under GPL-2.0-or-later as a whole\n",
      version(), git_revision(), core::name(core::isa()), FARFIELD_BUILD_TYPE, FARFIELD_COMPILER,
      parallel::built_with_mpi() ? "on" : "off");
}

}  // namespace farfield::apps
