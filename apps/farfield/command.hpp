#pragma once
// What the program can do, as data: the command line, its help and its reference are made from this.

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/core/clock.hpp"
#include "farfield/core/options.hpp"

namespace farfield::apps {

/// What the user gave, after flags, environment and configuration file were put together.
struct Arguments {
  std::vector<std::string> inputs;
  core::OptionValues given;  ///< checked; only what was given somewhere, no defaults
};

/// What a command may use besides its arguments.
struct Session {
  std::stop_token stop;       ///< Ctrl-C, SIGTERM
  const core::Clock& clock;
  std::vector<std::string> command_line;  ///< as typed, for provenance
};

/// One thing the program can do.
struct Command {
  std::vector<std::string> words;        ///< {"statistics", "mean"}
  std::string summary;                   ///< one line
  std::vector<std::string> inputs;       ///< names of the positional arguments, in order; "[NAME]" may be left out,
                                    ///< "NAME..." (the last) is one or more
  std::vector<core::OptionSchema> options;
  std::function<int(const Arguments&, const Session&)> run;  ///< returns the exit code; may throw core::Error

  std::string name() const;              ///< words with blanks between
  const core::OptionInfo* find(const std::string& option) const;
  std::vector<std::string> option_names() const;
  /// Headings of the options, in the order of their first one; "Options" for those without.
  std::vector<std::string> groups() const;
  std::vector<core::OptionInfo> group(const std::string& heading) const;
};

/// `values` that belong to `schema`.
core::OptionValues part(const core::OptionValues& values, const core::OptionSchema& schema);

}  // namespace farfield::apps
