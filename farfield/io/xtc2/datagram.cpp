#include "farfield/io/xtc2/datagram.hpp"

#include <fmt/format.h>

namespace farfield::io::xtc2 {

using core::Error;
using core::ErrorCode;
using core::Result;

namespace {
// Real files have two levels; a chain of containers without end must not exhaust the stack.
constexpr int kDeepest = 16;
constexpr std::size_t kShapeBytes = sizeof(std::array<std::uint32_t, kMaxRank>);

// Calls take(container, bytes) for each container in `bytes`; false from it, or one that does not fit, ends the walk.
template <class F>
void for_each_container(std::span<const std::byte> bytes, std::vector<std::string>& faults, Index origin, F&& take) {
  while (!bytes.empty()) {
    if (bytes.size() < kContainerBytes) {
      faults.push_back(fmt::format("{} bytes at byte {} are no container", bytes.size(), origin));
      return;
    }
    const auto container = load<Container>(bytes.data());
    if (container.extent < kContainerBytes || container.extent > bytes.size()) {
      faults.push_back(fmt::format("a container at byte {} says {} bytes, of {} that there are", origin,
                                   container.extent, bytes.size()));
      return;
    }
    take(container, bytes.first(container.extent), origin);
    bytes = bytes.subspan(container.extent);
    origin += container.extent;
  }
}

class Walk {
public:
  Walk(NamesTable& table, Contents& out) : table_(table), out_(out) {}

  void children(std::span<const std::byte> bytes, Index origin, int depth) {
    for_each_container(bytes, out_.faults, origin, [&](const Container& c, std::span<const std::byte> whole, Index at) {
      take(c, whole, at, depth);
    });
  }

private:
  void take(const Container& c, std::span<const std::byte> whole, Index at, int depth) {
    if ((c.damage & kCorrupted) != 0) {
      out_.faults.push_back(
          fmt::format("the container at byte {} is marked as corrupted (damage {:#x})", at, c.damage));
      return;
    }
    switch (c.type()) {
      case ContainerType::parent:
        if (depth == kDeepest) {
          out_.faults.push_back(fmt::format("more than {} containers within each other at byte {}", kDeepest, at));
          return;
        }
        children(whole.subspan(kContainerBytes), at + kContainerBytes, depth + 1);
        return;
      case ContainerType::names:
        try {
          const auto names = std::make_shared<const Names>(parse_names(whole));
          table_[names->id] = names;
          out_.items.emplace_back(names);
        } catch (const Error& e) {
          out_.faults.push_back(fmt::format("{} (at byte {})", e.what(), at));
        }
        return;
      case ContainerType::shapes_data: block(c, whole.subspan(kContainerBytes), at); return;
      case ContainerType::shapes:
      case ContainerType::data: break;
    }
    out_.faults.push_back(
        fmt::format("a container of type {} at byte {}, where none is expected", static_cast<int>(c.type()), at));
  }

  // Shapes and Data come in either order; there are no Shapes where no field is an array.
  void block(const Container& c, std::span<const std::byte> inner, Index at) {
    const auto names = table_.find(c.names_id());
    if (names == table_.end()) {
      out_.faults.push_back(
          fmt::format("values at byte {} belong to names {:#x}, which no Configure has", at, c.names_id()));
      return;
    }
    Block block;
    block.names = names->second;
    block.damage = c.damage;
    for_each_container(inner, out_.faults, at + kContainerBytes,
                       [&](const Container& part, std::span<const std::byte> whole, Index) {
                         if (part.type() == ContainerType::shapes) block.shapes = whole.subspan(kContainerBytes);
                         if (part.type() == ContainerType::data) block.data = whole.subspan(kContainerBytes);
                         block.damage |= part.damage;
                       });
    if ((block.damage & kCorrupted) != 0)
      out_.faults.push_back(fmt::format("values at byte {} are marked as corrupted (damage {:#x})", at, block.damage));
    else out_.items.emplace_back(std::move(block));
  }

  NamesTable& table_;
  Contents& out_;
};

// Takes values from the front of a block's data.
class ValueCursor {
public:
  explicit ValueCursor(const Block& block) : names_(*block.names), shapes_(block.shapes), data_(block.data) {}

  Result<Value> next(const Field& field) {
    Value value;
    value.field = &field;
    const Index item = item_size(field.type);
    if (item == 0)
      return core::failure(
          ErrorCode::unsupported,
          describe(field, fmt::format("has element type {}, which is not known", static_cast<unsigned>(field.type))));
    std::uint64_t bytes = static_cast<std::uint64_t>(item);
    if (field.rank > 0) {
      if (shapes_.size() < kShapeBytes) return core::failure(ErrorCode::corrupt_data, describe(field, "has no shape"));
      std::memcpy(value.shape.data(), shapes_.data(), kShapeBytes);
      shapes_ = shapes_.subspan(kShapeBytes);
      for (std::uint32_t r = 0; r < field.rank; ++r)
        if (__builtin_mul_overflow(bytes, value.shape[r], &bytes)) bytes = ~std::uint64_t{0};
    }
    if (bytes > data_.size())
      return core::failure(ErrorCode::corrupt_data,
                           describe(field, fmt::format("needs more bytes than the {} that are left", data_.size())));
    value.bytes = data_.first(bytes);
    data_ = data_.subspan(bytes);
    return value;
  }

private:
  std::string describe(const Field& field, const std::string& what) const {
    return fmt::format("field {} of {}[{}].{} {}", field.name, names_.detector, names_.segment, names_.algorithm, what);
  }
  const Names& names_;
  std::span<const std::byte> shapes_, data_;
};
}  // namespace

Result<Datagram> Datagram::parse(std::span<const std::byte> bytes) {
  if (static_cast<Index>(bytes.size()) < kHeaderBytes)
    return core::failure(ErrorCode::corrupt_data, fmt::format("{} bytes hold no datagram", bytes.size()));
  const auto header = load<Header>(bytes.data());
  if (header.size() < kHeaderBytes || header.size() > static_cast<Index>(bytes.size()))
    return core::failure(ErrorCode::corrupt_data,
                         fmt::format("a datagram says {} bytes, of {} that there are", header.size(), bytes.size()));
  return Datagram(bytes.first(static_cast<std::size_t>(header.size())));
}

std::string Value::text() const {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return std::string(all.substr(0, all.find('\0')));
}

double Value::number() const {
  return core::visit_dtype(dtype(field->type), [&](auto zero) -> double {
    using T = decltype(zero);
    if constexpr (std::is_arithmetic_v<T>) {
      if (bytes.size() >= sizeof(T)) return static_cast<double>(load<T>(bytes.data()));
    }
    return 0;
  });
}

core::AnyArray Value::array() const {
  core::AnyArray out(dtype(field->type), {shape.begin(), shape.begin() + field->rank});
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

Result<void> Block::values(std::vector<Value>& out) const {
  out.clear();
  ValueCursor cursor(*this);
  for (const Field& field : names->fields) {
    auto value = cursor.next(field);
    if (!value) return tl::unexpected<Error>(std::move(value.error()));
    out.push_back(*value);
  }
  return {};
}

Result<Value> Block::value(Index index) const {
  if (index < 0 || index >= static_cast<Index>(names->fields.size()))
    return core::failure(ErrorCode::not_found, fmt::format("there is no field {}", index));
  ValueCursor cursor(*this);
  for (Index i = 0;; ++i) {
    auto value = cursor.next(names->fields[static_cast<std::size_t>(i)]);
    if (!value || i == index) return value;
  }
}

void read_contents(const Datagram& datagram, NamesTable& table, Contents& out) {
  out.items.clear();
  out.faults.clear();
  if (datagram.transition() == Transition::configure) table.clear();
  const Container& root = datagram.header().xtc;
  if ((root.damage & kCorrupted) != 0) {
    out.faults.push_back(fmt::format("the datagram is marked as corrupted (damage {:#x})", root.damage));
    return;
  }
  Walk(table, out).children(datagram.payload(), kHeaderBytes, 0);
}

}  // namespace farfield::io::xtc2
