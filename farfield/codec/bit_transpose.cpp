#include "farfield/codec/bit_transpose.hpp"

#include "farfield/core/cpu.hpp"

namespace farfield::codec {

void bit_shuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size) {
  switch (core::isa()) {
    case core::Isa::v4: return v4::bit_shuffle(in, out, elements, element_size);
    case core::Isa::v3: return v3::bit_shuffle(in, out, elements, element_size);
    case core::Isa::v2: return v2::bit_shuffle(in, out, elements, element_size);
  }
}

void bit_unshuffle(const std::byte* in, std::byte* out, std::int64_t elements, std::int64_t element_size) {
  switch (core::isa()) {
    case core::Isa::v4: return v4::bit_unshuffle(in, out, elements, element_size);
    case core::Isa::v3: return v3::bit_unshuffle(in, out, elements, element_size);
    case core::Isa::v2: return v2::bit_unshuffle(in, out, elements, element_size);
  }
}

}  // namespace farfield::codec
