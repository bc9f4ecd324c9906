#include "farfield/services/flow/definition.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "farfield/core/error.hpp"
#include "farfield/core/options.hpp"
#include "farfield/services/flow/fields.hpp"
#include "farfield/services/flow/lines.hpp"

namespace farfield::services::flow {
namespace {
using core::Error;
using core::ErrorCode;

constexpr double kLongest_s = 366 * 86400.0;  ///< of any wait
constexpr std::size_t kMostStates = 1000;

constexpr std::pair<std::string_view, StateType> kTypes[] = {
    {"Action", StateType::action},     {"ExpressionEval", StateType::expression_eval},
    {"Pass", StateType::pass},         {"Choice", StateType::choice},
    {"Wait", StateType::wait},         {"Fail", StateType::fail},
    {"Parallel", StateType::parallel}, {"Map", StateType::map}};

const std::vector<std::string>& fields_of(StateType type) {
  using Names = std::vector<std::string>;
  static const std::map<StateType, Names> kFields{
      {StateType::action,
       {"ActionUrl", "ActionScope", "InputPath", "Parameters", "ResultPath", "WaitTime", "ExceptionOnActionFailure",
        "RunAs", "Catch", "Retry", "TimeoutSeconds", "HeartbeatSeconds", "Next", "End"}},
      {StateType::expression_eval, {"Parameters", "ResultPath", "Catch", "Next", "End"}},
      {StateType::pass, {"InputPath", "Parameters", "Result", "ResultPath", "Next", "End"}},
      {StateType::choice, {"InputPath", "Choices", "Default"}},
      {StateType::wait, {"Seconds", "SecondsPath", "Timestamp", "TimestampPath", "Next", "End"}},
      {StateType::fail, {"Error", "Cause"}},
      {StateType::parallel,
       {"Branches", "InputPath", "Parameters", "ResultPath", "Catch", "Retry", "TimeoutSeconds", "Next", "End"}},
      {StateType::map,
       {"ItemsPath", "ItemProcessor", "Iterator", "ItemSelector", "Parameters", "MaxConcurrency", "ResultPath", "Catch",
        "Retry", "TimeoutSeconds", "Next", "End"}}};
  return kFields.at(type);
}

class Parser {
public:
  Parser(const Report& report, const Report& warn, const KnowsAction& knows_action)
      : report_(report), warn_(warn), knows_action_(knows_action) {}

  std::shared_ptr<const Machine> machine(const Json& value, const std::string& pointer, bool whole_flow) {
    auto out = std::make_shared<Machine>();
    Fields f(value, pointer, report_);
    if (!f.is_object("a flow")) return out;
    f.only(whole_flow ? std::vector<std::string>{"Comment", "StartAt", "States", "TimeoutSeconds", "Version"}
                      : std::vector<std::string>{"Comment", "StartAt", "States", "ProcessorConfig"});
    out->start_at = f.text("StartAt", true).value_or("");
    if (whole_flow) out->timeout_s = f.number("TimeoutSeconds", 0.001, kLongest_s).value_or(0);
    const Json* states = f.find("States");
    if (states == nullptr || !states->is_object() || states->empty()) {
      report_(pointer + "/States", "a flow needs an object with at least one state");
      return out;
    }
    count_ += states->size();
    if (count_ > kMostStates) {
      report_(pointer + "/States", fmt::format("more than {} states", kMostStates));
      return out;
    }
    for (const auto& [name, body] : states->items())
      out->states.emplace(name, state(name, body, pointer + "/States/" + pointer_part(name)));
    check_edges(*out, *states, pointer);
    return out;
  }

private:
  State state(const std::string& name, const Json& value, const std::string& pointer) {
    State s;
    s.name = name;
    s.result_path = *Path::parse("$");
    Fields f(value, pointer, report_);
    if (!f.is_object("a state")) return s;
    const auto type = f.text("Type", true);
    if (!type) return s;
    const auto* known =
        std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return t.first == *type; });
    if (known == std::end(kTypes)) {
      std::vector<std::string> names;
      for (const auto& t : kTypes) names.emplace_back(t.first);
      report_(pointer + "/Type", fmt::format("'{}' must be one of {}", *type, fmt::join(names, ", ")));
      return s;
    }
    s.type = known->second;
    auto allowed = fields_of(s.type);
    allowed.insert(allowed.end(), {"Type", "Comment"});
    if (f.has("OutputPath"))
      report_(pointer + "/OutputPath", "there is no OutputPath; ResultPath says where the result goes");
    else f.only(allowed);
    common(s, f, pointer, allowed);
    switch (s.type) {
      case StateType::action: action(s, f, pointer); break;
      case StateType::expression_eval:
        if (!f.has("Parameters")) report_(pointer, "Parameters are missing");
        break;
      case StateType::pass:
        if (const Json* result = f.find("Result")) s.result = std::make_shared<Json>(*result);
        if (f.count({"InputPath", "Parameters", "Result"}) > 1)
          report_(pointer, "only one of InputPath, Parameters and Result");
        break;
      case StateType::choice: choice(s, f, pointer); break;
      case StateType::wait: wait(s, f, pointer); break;
      case StateType::fail:
        s.error = f.text("Error", false).value_or("");
        s.cause = f.text("Cause", false).value_or("");
        break;
      case StateType::parallel: parallel(s, f, pointer); break;
      case StateType::map: map(s, f, pointer); break;
    }
    return s;
  }

  void common(State& s, Fields& f, const std::string& pointer, const std::vector<std::string>& allowed) {
    const auto allows = [&](std::string_view name) {
      return std::find(allowed.begin(), allowed.end(), name) != allowed.end();
    };
    if (allows("Next")) {
      s.next = f.text("Next", false).value_or("");
      const bool end = f.boolean("End").value_or(false);
      if (f.has("Next") == end) report_(pointer, "exactly one of Next and End (true) is needed");
    }
    if (allows("InputPath")) s.input_path = f.path("InputPath", false);
    if (const Json* parameters = f.find("Parameters"); parameters != nullptr && allows("Parameters")) {
      if (!parameters->is_object())
        report_(pointer + "/Parameters", fmt::format("must be an object, not {}", parameters->type_name()));
      s.parameters = Template::compile(*parameters, pointer + "/Parameters", report_);
    }
    if (allows("ResultPath"))
      if (auto path = result_path(f, pointer)) s.result_path = std::move(*path);
    if (const Json* list = f.list("Catch"); list != nullptr && allows("Catch"))
      for (std::size_t i = 0; i < list->size(); ++i)
        s.catchers.push_back(catcher((*list)[i], fmt::format("{}/Catch/{}", pointer, i), i + 1 == list->size()));
    if (const Json* list = f.list("Retry"); list != nullptr && allows("Retry"))
      for (std::size_t i = 0; i < list->size(); ++i)
        s.retriers.push_back(retrier((*list)[i], fmt::format("{}/Retry/{}", pointer, i), i + 1 == list->size()));
  }

  std::optional<Path> result_path(Fields& f, const std::string& pointer) {
    auto path = f.path("ResultPath", true);
    if (path && path->in_context()) report_(pointer + "/ResultPath", "$._context is read-only");
    return path;
  }

  ErrorFilter errors(Fields& f, const std::string& pointer, bool last) {
    ErrorFilter out;
    const Json* list = f.list("ErrorEquals");
    if (list == nullptr || list->empty()) {
      report_(pointer + "/ErrorEquals", "a list of at least one error is needed");
      return out;
    }
    for (const Json& name : *list) {
      if (!name.is_string())
        report_(pointer + "/ErrorEquals", fmt::format("names of errors are strings, not {}", name.type_name()));
      else out.names.push_back(name.get<std::string>());
    }
    if (out.takes("") && (out.names.size() > 1 || !last))
      report_(pointer + "/ErrorEquals", "States.All stands alone, in the last entry");
    return out;
  }

  Catcher catcher(const Json& value, const std::string& pointer, bool last) {
    Catcher out;
    Fields f(value, pointer, report_);
    if (!f.is_object("an entry of Catch")) return out;
    f.only({"ErrorEquals", "Next", "ResultPath", "Comment"});
    out.errors = errors(f, pointer, last);
    out.next = f.text("Next", true).value_or("");
    out.result_path = result_path(f, pointer);
    return out;
  }

  Retrier retrier(const Json& value, const std::string& pointer, bool last) {
    Retrier out;
    Fields f(value, pointer, report_);
    if (!f.is_object("an entry of Retry")) return out;
    f.only({"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy",
            "Comment"});
    out.errors = errors(f, pointer, last);
    out.interval_s = f.number("IntervalSeconds", 0, kLongest_s).value_or(out.interval_s);
    out.max_attempts = static_cast<int>(f.integer("MaxAttempts", 0, 1000).value_or(out.max_attempts));
    out.backoff = f.number("BackoffRate", 1, 100).value_or(out.backoff);
    out.max_delay_s = f.number("MaxDelaySeconds", 0, kLongest_s).value_or(out.max_delay_s);
    const auto jitter = f.text("JitterStrategy", false).value_or("NONE");
    if (jitter != "NONE" && jitter != "FULL")
      report_(pointer + "/JitterStrategy", fmt::format("'{}' must be NONE or FULL", jitter));
    out.jitter = jitter == "FULL";
    return out;
  }

  void action(State& s, Fields& f, const std::string& pointer) {
    s.action_url = f.text("ActionUrl", true).value_or("");
    if (!s.action_url.empty() && knows_action_ && !knows_action_(s.action_url))
      report_(pointer + "/ActionUrl", fmt::format("no provider for '{}'", s.action_url));
    s.action_scope = f.text("ActionScope", false).value_or("");
    s.run_as = f.text("RunAs", false).value_or("User");
    if (s.run_as.empty()) report_(pointer + "/RunAs", "must be User, Flow or the name of a role");
    if (f.count({"InputPath", "Parameters"}) != 1)
      report_(pointer, "exactly one of InputPath and Parameters is needed");
    if (f.count({"WaitTime", "TimeoutSeconds"}) > 1)
      report_(pointer, "WaitTime and TimeoutSeconds say the same; only one of them");
    s.timeout_is_states_timeout = f.has("TimeoutSeconds");
    const char* const limit = f.has("TimeoutSeconds") ? "TimeoutSeconds" : "WaitTime";
    s.wait_time_s = f.number(limit, 0, kLongest_s).value_or(s.wait_time_s);
    s.heartbeat_s = f.number("HeartbeatSeconds", 0.001, kLongest_s);
    if (s.heartbeat_s && *s.heartbeat_s > s.wait_time_s)
      report_(pointer + "/HeartbeatSeconds", "is longer than the action may take");
    s.exception_on_action_failure = f.boolean("ExceptionOnActionFailure").value_or(true);
  }

  void choice(State& s, Fields& f, const std::string& pointer) {
    s.fallback = f.text("Default", false).value_or("");
    const Json* list = f.list("Choices");
    if (list == nullptr || list->empty()) {
      report_(pointer + "/Choices", "a list of at least one rule is needed");
      return;
    }
    for (std::size_t i = 0; i < list->size(); ++i) {
      const std::string at = fmt::format("{}/Choices/{}", pointer, i);
      auto rule = ChoiceRule::compile((*list)[i], at, report_);
      Fields g((*list)[i], at, report_);
      if ((*list)[i].is_object()) s.choices.emplace_back(std::move(rule), g.text("Next", true).value_or(""));
    }
  }

  void wait(State& s, Fields& f, const std::string& pointer) {
    if (f.count({"Seconds", "SecondsPath", "Timestamp", "TimestampPath"}) != 1)
      report_(pointer, "exactly one of Seconds, SecondsPath, Timestamp and TimestampPath is needed");
    s.seconds = f.number("Seconds", 0, kLongest_s);
    s.seconds_path = f.path("SecondsPath", true);
    s.timestamp_s = f.timestamp("Timestamp");
    s.timestamp_path = f.path("TimestampPath", true);
  }

  void parallel(State& s, Fields& f, const std::string& pointer) {
    s.wait_time_s = f.number("TimeoutSeconds", 0.001, kLongest_s).value_or(0);
    s.timeout_is_states_timeout = true;
    const Json* list = f.list("Branches");
    if (list == nullptr || list->empty()) {
      report_(pointer + "/Branches", "a list of at least one branch is needed");
      return;
    }
    for (std::size_t i = 0; i < list->size(); ++i)
      s.branches.push_back(machine((*list)[i], fmt::format("{}/Branches/{}", pointer, i), false));
  }

  void map(State& s, Fields& f, const std::string& pointer) {
    s.wait_time_s = f.number("TimeoutSeconds", 0.001, kLongest_s).value_or(0);
    s.timeout_is_states_timeout = true;
    s.items_path = f.path("ItemsPath", false);
    if (!s.items_path && !f.has("ItemsPath")) s.items_path = *Path::parse("$");
    s.max_concurrency = f.integer("MaxConcurrency", 0, 100000).value_or(0);
    if (f.count({"ItemProcessor", "Iterator"}) != 1)
      report_(pointer, "exactly one of ItemProcessor and Iterator is needed");
    if (f.count({"ItemSelector", "Parameters"}) > 1)
      report_(pointer, "ItemSelector and Parameters say the same; only one of them");
    if (const Json* selector = f.find("ItemSelector"))
      s.parameters = Template::compile(*selector, pointer + "/ItemSelector", report_);
    const char* const name = f.has("ItemProcessor") ? "ItemProcessor" : "Iterator";
    if (const Json* body = f.find(name)) s.branches.push_back(machine(*body, pointer + "/" + name, false));
  }

  /// Where each state may go: to a state that exists; states that nothing leads to are probably a mistake.
  void check_edges(const Machine& machine, const Json& states, const std::string& pointer) {
    std::vector<std::string> reached;
    const auto go = [&](const std::string& target, const std::string& at) {
      if (target.empty()) return;
      if (!machine.states.contains(target)) {
        std::vector<std::string> names;
        for (const auto& [name, ignored] : machine.states) names.push_back(name);
        const auto nearest = core::nearest_name(target, names);
        report_(at, fmt::format("there is no state '{}'{}", target,
                                nearest ? fmt::format("; did you mean '{}'?", *nearest) : ""));
      } else if (std::find(reached.begin(), reached.end(), target) == reached.end()) {
        reached.push_back(target);
      }
    };
    go(machine.start_at, pointer + "/StartAt");
    for (std::size_t i = 0; i < reached.size(); ++i) visit(machine.states.at(reached[i]), pointer, go);
    const std::size_t from_start = reached.size();
    for (const auto& [name, state] : machine.states)
      if (std::find(reached.begin(), reached.begin() + static_cast<std::ptrdiff_t>(from_start), name) ==
          reached.begin() + static_cast<std::ptrdiff_t>(from_start)) {
        if (states.contains(name)) warn_(pointer + "/States/" + pointer_part(name), "nothing leads to this state");
        visit(state, pointer, go);
      }
  }
  template <class Go>
  static void visit(const State& state, const std::string& pointer, const Go& go) {
    const std::string at = pointer + "/States/" + pointer_part(state.name);
    go(state.next, at + "/Next");
    go(state.fallback, at + "/Default");
    for (std::size_t i = 0; i < state.choices.size(); ++i)
      go(state.choices[i].second, fmt::format("{}/Choices/{}/Next", at, i));
    for (std::size_t i = 0; i < state.catchers.size(); ++i)
      go(state.catchers[i].next, fmt::format("{}/Catch/{}/Next", at, i));
  }

  const Report &report_, &warn_;
  const KnowsAction& knows_action_;
  std::size_t count_ = 0;
};

std::shared_ptr<const Machine> parse(std::string_view text, const KnowsAction& knows_action,
                                     std::vector<Problem>& problems) {
  const Json document = parse_json(text, "the definition");
  const DocumentLines lines = document_lines(text);
  const auto add = [&](const std::string& pointer, const std::string& what, bool warning) {
    const Problem problem{lines.of(pointer), pointer, what, warning};
    problems.push_back(problem);
  };
  for (const std::string& pointer : lines.given_twice)
    if (std::none_of(lines.given_twice.begin(), lines.given_twice.end(),
                     [&](const std::string& outer) { return pointer.starts_with(outer + "/"); }))
      add(pointer, "this name is given twice", false);
  const Report report = [&](const std::string& pointer, const std::string& what) { add(pointer, what, false); };
  const Report warn = [&](const std::string& pointer, const std::string& what) { add(pointer, what, true); };
  auto machine = Parser(report, warn, knows_action).machine(document, "", true);
  std::multimap<int, Problem> by_line;  // keeps the order of those of one line
  for (Problem& problem : problems) by_line.emplace(problem.line, std::move(problem));
  problems.clear();
  for (auto& [line, problem] : by_line) problems.push_back(std::move(problem));
  return machine;
}

Json shown(const Json& value) {
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& one : value) out.push_back(shown(one));
    return out;
  }
  if (!value.is_object()) return value;
  Json out = Json::object();
  const Json hidden = value.contains("__Private_Parameters") ? value["__Private_Parameters"] : Json::array();
  for (const auto& [name, member] : value.items()) {
    const auto simple = name.ends_with(".$") || name.ends_with(".=") ? name.substr(0, name.size() - 2) : name;
    if (std::none_of(hidden.begin(), hidden.end(), [&](const Json& h) { return h == name || h == simple; }))
      out[name] = shown(member);
  }
  return out;
}
}  // namespace

std::string_view name_of(StateType type) {
  for (const auto& [name, t] : kTypes)
    if (t == type) return name;
  return "";
}

bool ErrorFilter::takes(std::string_view error) const {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return name == error || name == "States.All" || name == "States.ALL";
  });
}

std::vector<Problem> check_definition(std::string_view text, const KnowsAction& knows_action) {
  std::vector<Problem> problems;
  try {
    parse(text, knows_action, problems);
  } catch (const Error& e) {
    problems.push_back({1, "", e.message(), false});
  }
  return problems;
}

std::shared_ptr<const Machine> parse_definition(std::string_view text, const KnowsAction& knows_action) {
  std::vector<Problem> problems;
  auto machine = parse(text, knows_action, problems);
  std::erase_if(problems, [](const Problem& p) { return p.warning; });
  if (!problems.empty())
    throw Error(ErrorCode::invalid_argument, "the flow's definition is wrong:\n" + describe(problems));
  return machine;
}

std::map<std::string, std::string> other_run_as(const Machine& machine) {
  std::map<std::string, std::string> out;
  for (const auto& [name, state] : machine.states) {
    if (state.type == StateType::action && state.run_as != "User") out.emplace(state.run_as, name);
    for (const auto& branch : state.branches) out.merge(other_run_as(*branch));
  }
  return out;
}

std::string definition_without_private(std::string_view text) {
  return shown(parse_json(text, "the definition")).dump();
}

std::string describe(const std::vector<Problem>& problems) {
  std::string out;
  for (const Problem& p : problems)
    out += fmt::format("{}line {}, {}: {}{}", out.empty() ? "" : "\n", p.line, p.path.empty() ? "/" : p.path,
                       p.warning ? "warning: " : "", p.what);
  return out;
}

}  // namespace farfield::services::flow
