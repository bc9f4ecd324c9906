#pragma once
// Numbers that mostly come in order, in little memory: as ranges.

#include <cstdint>
#include <map>

namespace farfield::stream {

class IdSet {
public:
  /// False: it was there before.
  bool insert(std::int64_t id) {
    auto after = ranges_.upper_bound(id);
    if (after != ranges_.begin()) {
      const auto before = std::prev(after);
      if (id < before->second) return false;
      if (id == before->second) {
        ++before->second;
        ++size_;
        if (after != ranges_.end() && after->first == before->second) {
          before->second = after->second;
          ranges_.erase(after);
        }
        return true;
      }
    }
    ++size_;
    if (after != ranges_.end() && after->first == id + 1) {
      const auto end = after->second;
      ranges_.erase(after);
      ranges_.emplace(id, end);
    } else {
      ranges_.emplace(id, id + 1);
    }
    return true;
  }
  bool contains(std::int64_t id) const {
    const auto after = ranges_.upper_bound(id);
    return after != ranges_.begin() && id < std::prev(after)->second;
  }
  std::int64_t size() const { return size_; }

private:
  std::map<std::int64_t, std::int64_t> ranges_;  // first -> one behind the last
  std::int64_t size_ = 0;
};

}  // namespace farfield::stream
