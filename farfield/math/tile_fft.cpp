#include "farfield/math/tile_fft.hpp"

namespace farfield::math {

namespace v2 {
const TileFft* tile_fft(core::Index ny, core::Index nx);
}
namespace v3 {
const TileFft* tile_fft(core::Index ny, core::Index nx);
}
namespace v4 {
const TileFft* tile_fft(core::Index ny, core::Index nx);
}

const TileFft* tile_fft(core::Isa isa, core::Index ny, core::Index nx) {
  switch (isa) {
    case core::Isa::v2: return v2::tile_fft(ny, nx);
    case core::Isa::v3: return v3::tile_fft(ny, nx);
    case core::Isa::v4: return v4::tile_fft(ny, nx);
  }
  return nullptr;
}

}  // namespace farfield::math
