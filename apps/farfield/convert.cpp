// farfield convert IN OUT

#include "farfield/io/convert.hpp"

#include "apps/farfield/commands.hpp"
#include "apps/farfield/run_options.hpp"

namespace farfield::apps {

Command convert_command() {
  return {{"convert"},
          "between file formats, chosen by the suffix of OUT: scans to .cxi .npz .nxs .ptyd, results to .cxi .npz .tif",
          {"IN", "OUT"},
          {input_schema()},
          [](const Arguments& arguments, const Session& session) {
            core::ThreadPool pool(core::hardware_threads());
            io::convert(arguments.inputs.at(0), arguments.inputs.at(1),
                        open_options(input_schema().make(arguments.given), {}, &pool), session.stop);
            return core::kExitOk;
          }};
}

}  // namespace farfield::apps
