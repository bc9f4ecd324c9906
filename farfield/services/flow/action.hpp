#pragma once
// What a flow's Action states call: providers of actions, behind one interface.

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farfield::services::flow {

/// One action to run. `key` is the same whenever the engine asks for the same action again, also after a crash.
struct ActionRequest {
  std::string key{};
  std::string run_id{}, flow_id{};
  std::string url{}, scope{};    ///< as the definition says
  std::string run_as{}, user{};  ///< User, Flow or a role; the user who started the run
  std::string grant{};           ///< for tokens of that user's (or `identity`'s); empty: there is none
  std::string body{};          ///< JSON
  std::string identity{};    ///< service:ID, whose tokens the grant gives instead; empty: the user's own
  double scheduled_s = 0;    ///< when the engine decided to run it, seconds since 1970
};

/// What became of it, as the action provider API says it.
struct ActionUpdate {
  enum class State {
    active,     ///< still at work: a heartbeat
    succeeded,
    failed,
    refused,    ///< did not begin: `error` (ActionUnableToRun, NoTokenException) and `cause`
  };
  std::string key{};
  State state = State::active;
  std::string action_id{};
  double start_s = 0, completion_s = 0;  ///< seconds since 1970; 0: not known
  std::string details = "{}";            ///< JSON
  std::string error{}, cause{};              ///< of refused
};

/// Thread-safe. Updates are pushed, from any thread, also before start() returns; exactly one that is not `active`
/// ends the action, and a second one is ignored.
class ActionProvider {
public:
  using Notify = std::function<void(const ActionUpdate&)>;
  virtual ~ActionProvider() = default;

  /// Returns soon. For a key that was seen before, the same action goes on (or its end is told again): nothing is
  /// done twice. May throw core::Error, which refuses the action.
  virtual void start(const ActionRequest& request, const Notify& notify) = 0;
  /// Ends it as soon as possible, if it is still at work; no update is needed.
  virtual void cancel(const std::string& key) = 0;
  /// Its end is stored: what is kept about it may be forgotten.
  virtual void release(const std::string& /*key*/) {}
  /// What an earlier process asked for and is still at work is ended where `is_over` says so
  /// of its key; cancellations of that process may have been stored and not carried out.
  virtual void give_up(const std::function<bool(const std::string& key)>& /*is_over*/) {}
};

/// Which provider answers for an ActionUrl.
class Providers {
public:
  /// `urls` are whole addresses or, ending in `/`, the beginnings of some; a trailing `/` of an ActionUrl does not
  /// count. `kind` is how reports group actions: "transfer", "compute", "wait" ...
  void add(std::string kind, std::vector<std::string> urls, std::shared_ptr<ActionProvider> provider);
  bool knows(const std::string& url) const { return find(url) != nullptr; }
  /// Null where there is none.
  std::shared_ptr<ActionProvider> find(const std::string& url) const;
  std::string kind(const std::string& url) const;
  std::vector<std::shared_ptr<ActionProvider>> all() const;

private:
  struct Entry {
    std::string kind;
    std::vector<std::string> urls;
    std::shared_ptr<ActionProvider> provider;
  };
  const Entry* entry(std::string url) const;
  std::vector<Entry> entries_;
};

/// Addresses under which users of Globus know these kinds of actions, and our own (`farfield:transfer`).
std::vector<std::string> urls_of(const std::string& kind);

}  // namespace farfield::services::flow
