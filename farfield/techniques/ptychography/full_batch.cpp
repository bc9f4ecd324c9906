#include "farfield/techniques/ptychography/full_batch.hpp"

#include <algorithm>
#include <tuple>

namespace farfield::techniques::ptychography {

void FullBatch::begin(const Pass& pass) {
  const State& s = pass.state;
  const auto place = [&](Index slot) -> const Placement& { return s.placements[static_cast<std::size_t>(slot)]; };
  if (object_.extents() != s.object.extents()) {
    object_ = core::Array<cfloat, 2>(s.object.extents());
    illumination_ = core::Array<float, 2>(s.object.extents());
  } else {
    object_.fill({});
    illumination_.fill(0);
  }

  std::vector<Index> order = pass.slots;
  const Index band = std::max<Index>(1, s.shape.ny / 8);
  std::sort(order.begin(), order.end(), [&](Index a, Index b) {
    return std::tuple(place(a).oy / band, place(a).ox, a) < std::tuple(place(b).oy / band, place(b).ox, b);
  });

  const auto n = static_cast<Index>(order.size());
  const Index threads = pass.pool.size(), rows = s.object.extent(0);
  shares_.resize(static_cast<std::size_t>(threads));
  Index next_begin = rows;  // the first row that a later share touches
  for (Index t = threads - 1; t >= 0; --t) {
    Share& share = shares_[static_cast<std::size_t>(t)];
    share.slots.assign(order.begin() + n * t / threads, order.begin() + n * (t + 1) / threads);
    share.end = next_begin;
    Index last = share.end;
    for (const Index slot : share.slots) {
      next_begin = std::min(next_begin, place(slot).oy);
      last = std::max(last, place(slot).oy + s.shape.ny);
    }
    share.spill = core::Array<cfloat, 2>({last - share.end, s.object.extent(1)});
    share.spilt_illumination = core::Array<float, 2>({last - share.end, s.object.extent(1)});
    if (share.probe.extents() != s.probe.extents()) share.probe = core::Array<cfloat, 3>(s.probe.extents());
    else share.probe.fill({});
    share.sums = {};
  }
}

int FullBatch::rows(const State& s, Index slot, int thread, Rows (&out)[2]) {
  Share& share = shares_[static_cast<std::size_t>(thread)];
  const Placement& p = s.placements[static_cast<std::size_t>(slot)];
  const Index stride = s.object_stride(), own = std::clamp<Index>(share.end - p.oy, 0, s.shape.ny);
  int pieces = 0;
  if (own > 0) {
    const Index at = p.oy * stride + p.ox;
    out[pieces++] = {0, own, object_.data() + at, illumination_.data() + at};
  }
  if (own < s.shape.ny) {
    const Index at = (p.oy + own - share.end) * stride + p.ox;
    out[pieces++] = {own, s.shape.ny - own, share.spill.data() + at, share.spilt_illumination.data() + at};
  }
  return pieces;
}

void FullBatch::finish(core::ThreadPool& pool, const Kernels& k, Sharing& sharing) {
  const Index stride = object_.extent(1);
  total_ = shares_[0].sums;
  for (std::size_t t = 1; t < shares_.size(); ++t) {
    total_ += shares_[t].sums;
    k.axpy(shares_[t].probe.size(), 1, shares_[t].probe.data(), shares_[0].probe.data());
  }
  for (const Share& share : shares_)
    pool.split(share.spill.extent(0), [&](Index begin, Index end, int) {
      const Index to = (share.end + begin) * stride, from = begin * stride, n = (end - begin) * stride;
      k.axpy(n, 1, share.spill.data() + from, object_.data() + to);
      const float* l = share.spilt_illumination.data() + from;
      for (Index i = 0; i < n; ++i) illumination_.data()[to + i] += l[i];
    });
  sharing.sum_object(object_.view());
  sharing.sum_object(illumination_.view());
  sharing.sum(std::span(probe().data(), static_cast<std::size_t>(probe().size())));
}

}  // namespace farfield::techniques::ptychography
