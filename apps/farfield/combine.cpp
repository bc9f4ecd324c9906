// farfield <technique> <verb> A B: products in, numbers (and perhaps a product) out.

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "apps/farfield/commands.hpp"
#include "apps/farfield/console.hpp"
#include "apps/farfield/run_options.hpp"
#include "farfield/io/product_file.hpp"
#include "farfield/pipeline/result_folder.hpp"

namespace farfield::apps {
namespace {

/// Ranks that mpirun started beside this one, it included, as its environment says.
long started_ranks() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* text = std::getenv(name)) return std::strtol(text, nullptr, 10);
  return 1;
}

int combine(const technique::TechniqueInfo& info, const technique::Verb& verb, const Arguments& arguments,
            const Session& session) {
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  Console console({common.json, common.quiet, isatty(STDERR_FILENO) == 1, false}, session.clock);
  try {
    if (const long ranks = started_ranks(); ranks > 1)
      throw core::Error(
          core::ErrorCode::unsupported,
          fmt::format("`farfield {} {}` is the work of one process, but {} were started: leave mpirun out", info.name,
                      verb.name, ranks));
    return run_combination(info, verb, arguments, session, console);
  } catch (const core::Error& e) {
    console.error(e);
    return core::traits(e.code()).exit_code;
  }
}

}  // namespace

int run_combination(const technique::TechniqueInfo& info, const technique::Verb& verb, const Arguments& arguments,
                    const Session& session, RunObserver& observer) {
  const auto common = common_schema().make(part(arguments.given, common_schema()));
  const auto out = out_folder_schema().make(part(arguments.given, out_folder_schema())).out;
  const auto given = part(arguments.given, verb.options);
  const double started_s = session.clock.now_s();
  if (out.empty() && !verb.out_optional)
    throw core::Error(core::ErrorCode::invalid_argument,
                      fmt::format("`farfield {} {}` needs --out DIR for its result", info.name, verb.name));
  std::optional<pipeline::ResultFolder> folder;
  if (!out.empty()) folder.emplace(out);
  std::vector<model::Product> products;
  for (const auto& path : arguments.inputs) products.push_back(io::read_product(path));
  core::ThreadPool pool(common.thread_count());
  const technique::Resources resources{&pool, nullptr, &session.clock, static_cast<std::uint64_t>(common.seed), 0};
  auto product = verb.combine(products, given, resources, session.stop, observer);
  for (std::size_t i = 0; i < arguments.inputs.size(); ++i)
    product.provenance.try_emplace(fmt::format("input_{}", i + 1), arguments.inputs[i]);
  add_provenance(product, info, verb, given, session);
  Summary summary{"finished", session.clock.now_s() - started_s, product.metrics, std::nullopt, {}};
  if (folder) summary.files = folder->write(product, nullptr);
  observer.summary(summary);
  return core::kExitOk;
}

Command combine_command(const technique::TechniqueInfo& technique, const technique::Verb& verb) {
  std::vector<std::string> inputs;
  for (std::size_t i = 0; i < verb.inputs.size(); ++i)
    inputs.push_back(verb.inputs[i].ends_with("...") ? "PRODUCT..."
                     : verb.inputs.size() == 1       ? "PRODUCT"
                                                     : std::string(1, static_cast<char>('A' + i)));
  return {
      {technique.name, verb.name},
      verb.summary,
      inputs,
      {verb.options, out_folder_schema(), common_schema()},
      [&](const Arguments& arguments, const Session& session) { return combine(technique, verb, arguments, session); }};
}

}  // namespace farfield::apps
