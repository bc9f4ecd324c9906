#pragma once
// Rules that turn the quality of a scan into decisions: each fires once for a scan, or again after its release
// condition held. What a decision leads to (a webhook, a message) is not known here.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "farfield/pipeline/steering/condition.hpp"

namespace farfield::pipeline {

struct Rule {
  std::string name;
  Condition when;
  std::int64_t records = 1;          ///< so many records in a row in which it must hold
  std::optional<Condition> release;  ///< after it held, the rule may fire again in the same scan; none: once for a scan
  std::string action;  ///< what is asked for: "stop", "rescan" ...
  std::vector<std::string> to;  ///< where the decision is sent
};

struct Decision {
  const Rule* rule = nullptr;
  std::string scan;
  std::int64_t record = 0;  ///< the number of the one that decided
  double time_s = 0;  ///< of that record
  std::string reason;
};

class Steering {
public:
  explicit Steering(std::vector<Rule> rules) : rules_(std::move(rules)) {}
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;

  const std::vector<Rule>& rules() const { return rules_; }
  /// What follows from one more record, in the order of the rules. Scans may be interleaved; the 64 that were heard of
  /// last are remembered, of each as many records as the longest trend needs.
  std::vector<Decision> take(QualityRecord record);

private:
  struct RuleState {
    std::int64_t in_a_row = 0;
    bool fired = false;
  };
  struct Scan {
    std::vector<QualityRecord> history;
    std::vector<RuleState> rules;
    std::uint64_t heard = 0;
  };
  Scan& scan_of(const std::string& name);
  void forget_old(Scan& scan) const;

  std::vector<Rule> rules_;
  std::map<std::string, Scan> scans_;
  std::uint64_t heard_ = 0;
};

}  // namespace farfield::pipeline
