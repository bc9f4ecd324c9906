#include "farfield/services/transfer/walk.hpp"

#include <map>
#include <utility>

#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

using core::Error;
using core::ErrorCode;

bool ends_job(ErrorCode code) {
  return code == ErrorCode::resource_exhausted || code == ErrorCode::cancelled || code == ErrorCode::unavailable ||
         code == ErrorCode::timeout || code == ErrorCode::unauthenticated;
}

Walk::Walk(Provider& from, Provider& to, const std::vector<Item>& items, const JobOptions& options)
    : from_(from), to_(to), items_(items), options_(options) {}

void Walk::run(const std::stop_token& stop, const std::function<void(Found)>& found,
               const std::function<void(const std::string&, const std::string&, Error)>& failed) {
  stop_ = stop;
  found_ = found;
  failed_ = failed;
  for (const Item& item : items_)
    attempt(item.source, item.destination, [&] {
      if (item.recursive) {
        folder(checked_path(item.source), checked_path(item.destination), "");
        return;
      }
      const std::string source = checked_path(item.source), destination = checked_path(item.destination);
      const auto entry = from_.stat(source);
      if (!entry) throw Error(ErrorCode::not_found, source + " does not exist").at(from_.name());
      if (entry->kind == EntryKind::folder)
        throw Error(ErrorCode::invalid_argument, source + " is a folder: the item must be recursive").at(from_.name());
      // Below a folder links and the like are left out and counted; asked for by name they are not silently nothing.
      if (entry->kind != EntryKind::file)
        throw Error(ErrorCode::unsupported, source + " is neither a file nor a folder; name what it leads to")
            .at(from_.name());
      to_.make_folder(std::string(folder_of(destination)));
      file(*entry, source, destination, options_.sync == Sync::never ? std::nullopt : to_.stat(destination));
    });
}

void Walk::attempt(const std::string& source, const std::string& destination, const std::function<void()>& action) {
  try {
    action();
  } catch (Error& e) {
    if (ends_job(e.code())) throw;
    failed_(source, destination, std::move(e));
  }
}

void Walk::folder(const std::string& source, const std::string& destination, const std::string& below) {
  if (stop_.stop_requested()) throw Error(ErrorCode::cancelled, "the transfer was stopped");
  const auto listing = from_.list(source);
  if (made_.insert(destination).second) to_.make_folder(destination);
  std::map<std::string, Entry> there;
  if (options_.sync != Sync::never)
    for (auto& entry : to_.list(destination).entries) there.emplace(entry.name, std::move(entry));
  for (const auto& why : listing.refused) failed_(source, destination, Error(ErrorCode::invalid_argument, why));
  for (const auto& entry : listing.entries) {
    const std::string path = join(below, entry.name), to = join(destination, entry.name);
    std::string from = join(source, entry.name);
    if (entry.kind == EntryKind::folder) {
      if (takes_folder(options_.filter, path)) attempt(from, to, [&] { folder(from, to, path); });
    } else if (takes_file(options_.filter, path)) {
      const auto match = there.find(entry.name);
      file(entry, std::move(from), to, match == there.end() ? std::nullopt : std::optional(match->second));
    }
  }
}

void Walk::file(const Entry& entry, std::string source, std::string destination, const std::optional<Entry>& there) {
  if (entry.kind != EntryKind::file) {
    (entry.kind == EntryKind::link ? links_ : others_).insert(source);
    return;
  }
  const auto need = [&] {
    if (options_.sync == Sync::never || !there || there->kind != EntryKind::file) return Found::Need::copy;
    if (options_.sync == Sync::exists) return Found::Need::nothing;
    if (there->version.size_bytes != entry.version.size_bytes) return Found::Need::copy;
    if (options_.sync == Sync::size) return Found::Need::nothing;
    if (options_.sync == Sync::checksum) return Found::Need::compare;
    return there->version.mtime_ns == entry.version.mtime_ns ? Found::Need::nothing : Found::Need::copy;
  }();
  found_({std::move(source), std::move(destination), entry.version, need});
}

}  // namespace farfield::services::transfer
