#pragma once
// For tests of this room only: a provider that hands everything on to another, with a hook wherever things can go
// wrong.

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "farfield/services/transfer/provider.hpp"

namespace farfield::services::transfer::testing {

struct Hooks {
  std::function<void(Index offset)> before_read;
  /// May change number, bytes and sum, or throw.
  std::function<void(Index number, std::vector<std::byte>& bytes, std::uint32_t& crc32c)> before_put;
  std::function<void()> before_commit;
  std::function<void(const std::string& path)> before_open, before_receive, before_list;
};

class HookedReader final : public Reader {
public:
  HookedReader(std::unique_ptr<Reader> inner, const Hooks& hooks) : inner_(std::move(inner)), hooks_(hooks) {}
  const Entry& entry() const override { return inner_->entry(); }
  Version version() override { return inner_->version(); }
  Index read(Index offset, std::span<std::byte> into) override {
    if (hooks_.before_read) hooks_.before_read(offset);
    return inner_->read(offset, into);
  }

private:
  std::unique_ptr<Reader> inner_;
  const Hooks& hooks_;
};

class HookedReceiver final : public Receiver {
public:
  HookedReceiver(std::unique_ptr<Receiver> inner, const Hooks& hooks) : inner_(std::move(inner)), hooks_(hooks) {}
  const Held& held() const override { return inner_->held(); }
  void put(Index number, std::span<const std::byte> bytes, std::uint32_t crc32c) override {
    if (!hooks_.before_put) return inner_->put(number, bytes, crc32c);
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    hooks_.before_put(number, copy, crc32c);
    inner_->put(number, copy, crc32c);
  }
  void keep(Index number, Index bytes) override { inner_->keep(number, bytes); }
  std::vector<Index> verify(Index size_bytes) override { return inner_->verify(size_bytes); }
  Digests commit(const Version& source, unsigned mode) override {
    if (hooks_.before_commit) hooks_.before_commit();
    return inner_->commit(source, mode);
  }
  void abandon() noexcept override { inner_->abandon(); }

private:
  std::unique_ptr<Receiver> inner_;
  const Hooks& hooks_;
};

class HookedProvider final : public Provider {
public:
  explicit HookedProvider(std::unique_ptr<Provider> inner) : inner_(std::move(inner)) {}
  Hooks hooks;

  std::string name() const override { return inner_->name(); }
  std::optional<Entry> stat(const std::string& path) override { return inner_->stat(path); }
  Listing list(const std::string& path) override {
    if (hooks.before_list) hooks.before_list(path);
    return inner_->list(path);
  }
  std::unique_ptr<Reader> open(const std::string& path) override {
    if (hooks.before_open) hooks.before_open(path);
    return std::make_unique<HookedReader>(inner_->open(path), hooks);
  }
  std::unique_ptr<Receiver> receive(const std::string& path, const ReceiveOptions& options) override {
    if (hooks.before_receive) hooks.before_receive(path);
    return std::make_unique<HookedReceiver>(inner_->receive(path, options), hooks);
  }
  void make_folder(const std::string& path) override { inner_->make_folder(path); }
  void remove(const std::string& path) override { inner_->remove(path); }
  Digests digests(const std::string& path, bool sha256) override { return inner_->digests(path, sha256); }

private:
  std::unique_ptr<Provider> inner_;
};

}  // namespace farfield::services::transfer::testing
