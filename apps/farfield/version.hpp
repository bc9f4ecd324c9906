#pragma once

#include <string>

namespace farfield::apps {

/// "0.1.0"
std::string version();
/// Short hash of the commit built from, "+changes" when the tree had any; "unknown" outside git. From a file
/// that is generated at build time, so that a commit recompiles one line.
const char* git_revision();
/// Several lines: version, revision, instruction set, build.
std::string version_text();

}  // namespace farfield::apps
