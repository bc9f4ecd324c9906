#pragma once
// Two sites: network namespaces of their own, each joined to this one by a cable of limited rate. Needs root.

#include <string>

namespace farfield::chaos {

class Sites {
public:
  Sites();
  ~Sites();
  Sites(const Sites&) = delete;
  Sites& operator=(const Sites&) = delete;

  /// Why there are none; empty: there are.
  const std::string& why_not() const { return why_not_; }
  /// `side`: "beamline" or "cluster".
  std::string name(const std::string& side) const;  ///< of the namespace, for `ip netns exec`
  std::string here(const std::string& side) const;  ///< this end's address
  std::string there(const std::string& side) const;

private:
  std::string why_not_;
};

}  // namespace farfield::chaos
