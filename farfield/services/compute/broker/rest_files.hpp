#pragma once
// Files over HTTP: archives and outputs, in and out, whatever their size. Only rest.cpp includes it.

#include <memory>
#include <string>

#include "farfield/net/message.hpp"
#include "farfield/services/compute/protocol.hpp"

namespace farfield::services::compute {

/// Keeps what is uploaded under `sha256`, which it must have. Throws `invalid_argument` for a name that is none.
std::unique_ptr<net::Upload> receive_archive(const std::string& folder, const std::string& sha256);
/// Keeps the output of an attempt, JSON; a second upload takes the place of the first.
std::unique_ptr<net::Upload> receive_output(const std::string& folder, const TaskKey& key);
/// Throws `not_found`, `io`.
net::Response file_response(const std::string& path, std::string_view media_type);

}  // namespace farfield::services::compute
