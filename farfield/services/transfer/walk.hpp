#pragma once
// The files of a job's items, found folder by folder, with what is to be done with each. Makes the folders on the way.

#include <functional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "farfield/services/transfer/job.hpp"

namespace farfield::services::transfer {

struct Found {
  std::string source, destination;
  Version version;  ///< of the source
  enum class Need { copy, compare, nothing } need = Need::copy;
};

class Walk {
public:
  Walk(Provider& from, Provider& to, const std::vector<Item>& items, const JobOptions& options);
  /// Calls `found` for each file, and `failed` for what cannot be listed. May be called again and again.
  /// Throws what ends a job (see ends_job()).
  void run(const std::stop_token& stop, const std::function<void(Found)>& found,
           const std::function<void(const std::string& source, const std::string& destination, core::Error)>& failed);
  /// Paths of what is neither a file nor a folder.
  const std::set<std::string>& links() const { return links_; }
  const std::set<std::string>& others() const { return others_; }

private:
  void folder(const std::string& source, const std::string& destination, const std::string& below);
  void file(const Entry& entry, std::string source, std::string destination, const std::optional<Entry>& there);
  void attempt(const std::string& source, const std::string& destination, const std::function<void()>& action);

  Provider& from_;
  Provider& to_;
  const std::vector<Item>& items_;
  const JobOptions& options_;
  std::set<std::string> made_, links_, others_;
  std::stop_token stop_;
  std::function<void(Found)> found_;
  std::function<void(const std::string&, const std::string&, core::Error)> failed_;
};

/// A full disk, a stop, a refused identity: the next file would fare no better.
bool ends_job(core::ErrorCode code);

}  // namespace farfield::services::transfer
