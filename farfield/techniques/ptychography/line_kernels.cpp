#include "farfield/techniques/ptychography/line_kernels.hpp"

namespace farfield::techniques::ptychography {

namespace v2 {
const LineKernels& line_kernels();
}
namespace v3 {
const LineKernels& line_kernels();
}
namespace v4 {
const LineKernels& line_kernels();
}

const LineKernels& cpu_line_kernels(core::Isa isa) {
  switch (isa) {
    case core::Isa::v4: return v4::line_kernels();
    case core::Isa::v3: return v3::line_kernels();
    default: return v2::line_kernels();
  }
}

}  // namespace farfield::techniques::ptychography
