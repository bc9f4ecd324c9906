#pragma once
// Places as they are written on a command line.

#include <memory>
#include <string>

#include "farfield/services/transfer/provider.hpp"

namespace farfield::apps {

/// A provider, and a path in it.
struct Place {
  std::shared_ptr<services::transfer::Provider> provider;
  std::string path;
};

struct PlaceOptions {
  std::string token_file;  ///< for agents: a file that holds an access token; empty: none is sent
  std::string authority;   ///< whom to trust; empty: the system's authorities
};

/// "data/scan100" on this machine, "https://HOST:PORT/EXPERIMENT/scan100" at an agent, or
/// "roots://HOST:PORT/FOLDER/scan100" at an XRootD server. A local path is confined to its folder, for a destination to
/// the nearest one that exists. Throws `invalid_argument`, `not_found`.
Place parse_place(const std::string& text, const PlaceOptions& options);

}  // namespace farfield::apps
