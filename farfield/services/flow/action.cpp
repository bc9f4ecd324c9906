#include "farfield/services/flow/action.hpp"

#include <map>

namespace farfield::services::flow {

void Providers::add(std::string kind, std::vector<std::string> urls, std::shared_ptr<ActionProvider> provider) {
  entries_.push_back({std::move(kind), std::move(urls), std::move(provider)});
}

const Providers::Entry* Providers::entry(std::string url) const {
  while (url.ends_with('/')) url.pop_back();
  for (const Entry& entry : entries_)
    for (const std::string& known : entry.urls)
      if (known == url || (known.ends_with('/') && (url + "/").starts_with(known))) return &entry;
  return nullptr;
}

std::shared_ptr<ActionProvider> Providers::find(const std::string& url) const {
  const Entry* found = entry(url);
  return found == nullptr ? nullptr : found->provider;
}

std::vector<std::shared_ptr<ActionProvider>> Providers::all() const {
  std::vector<std::shared_ptr<ActionProvider>> out;
  for (const Entry& one : entries_) out.push_back(one.provider);
  return out;
}

std::string Providers::kind(const std::string& url) const {
  const Entry* found = entry(url);
  return found == nullptr ? "" : found->kind;
}

std::vector<std::string> urls_of(const std::string& kind) {
  static const std::map<std::string, std::vector<std::string>> kUrls{
      {"transfer",
       {"https://actions.automate.globus.org/transfer/transfer", "https://actions.globus.org/transfer/transfer",
        "https://transfer.actions.globus.org/transfer"}},
      {"compute",
       {"https://api.funcx.org/automate", "https://automate.funcx.org", "https://compute.actions.globus.org",
        "https://compute.actions.globus.org/v2", "https://compute.actions.globus.org/v3"}},
      {"expression", {"https://actions.globus.org/expression_eval"}},
      {"echo", {"https://actions.globus.org/hello_world"}},
  };
  std::vector<std::string> urls{"farfield:" + kind};
  if (const auto known = kUrls.find(kind); known != kUrls.end())
    urls.insert(urls.end(), known->second.begin(), known->second.end());
  return urls;
}

}  // namespace farfield::services::flow
