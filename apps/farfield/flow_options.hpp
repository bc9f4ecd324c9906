#pragma once
// What the commands about flows share.

#include <string>

#include "apps/farfield/flow_host.hpp"

namespace farfield::apps {

/// A text file of at most 16 MiB. Throws `not_found`, `io`, `resource_exhausted`.
std::string read_text(const std::string& path);

/// The user that runs this program.
std::string user_name();

/// Deploys a file; `title` empty: the name of the file; `flow` empty: a new flow; `identity`: of RunAs Flow.
services::flow::FlowRecord deploy_file(FlowHost& host, const std::string& file, std::string title,
                                       const std::string& schema_file, const std::string& flow,
                                       const std::string& identity = {});

/// The break-down of each run as a bar, as SVG.
std::string times_figure(const std::vector<services::flow::RunTimes>& runs);

}  // namespace farfield::apps
