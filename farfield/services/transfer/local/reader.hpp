#pragma once
// A file of the local file system that is read.

#include "farfield/services/transfer/provider.hpp"
#include "farfield/services/transfer/root.hpp"

namespace farfield::services::transfer {

Entry to_entry(std::string name, const struct stat& status);

class LocalReader final : public Reader {
public:
  /// Throws `unsupported` for what is not a regular file.
  LocalReader(const Root& root, const std::string& path);
  const Entry& entry() const override { return entry_; }
  Version version() override;
  Index read(Index offset, std::span<std::byte> into) override;
  int descriptor() const { return file_.get(); }

private:
  std::string where_;
  Descriptor file_;
  Entry entry_;
};

}  // namespace farfield::services::transfer
