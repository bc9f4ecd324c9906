#pragma once
// For tests of this room.

#include <nlohmann/json.hpp>
#include <string>

#include "farfield/services/flow/json.hpp"

namespace farfield::services::flow::testing {

inline Json json(const char* text) { return Json::parse(text); }

/// The flow of the language's own page: transfer in, reconstruct, transfer back.
inline constexpr const char* kScanFlow = R"json({
 "Comment": "scan flow", "StartAt": "Transfer_Out", "States": {
  "Transfer_Out": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer",
   "Parameters": {"source_endpoint_id.$": "$.input.source_ep", "destination_endpoint_id.$": "$.input.dest_ep",
     "transfer_items": [{"source_path.$": "$.input.local_dir", "destination_path.$": "$.input.data_dir", "recursive": true}]},
   "ResultPath": "$.TransferResult", "WaitTime": 600, "Next": "Recon"},
  "Recon": {"Type": "Action", "ActionUrl": "https://api.funcx.org/automate",
   "ActionScope": "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all",
   "Parameters": {"tasks": [{"endpoint.$": "$.input.compute_ep", "func.$": "$.input.recon_fn", "payload.$": "$.input"}]},
   "ResultPath": "$.Recon", "WaitTime": 7200, "Next": "Transfer Back"},
  "Transfer Back": {"Type": "Action", "ActionUrl": "https://actions.automate.globus.org/transfer/transfer",
   "Parameters": {"source_endpoint_id.$": "$.input.dest_ep", "destination_endpoint_id.$": "$.input.source_ep",
     "transfer_items": [{"source_path.=": "input.data_dir + '/recon'", "destination_path.$": "$.input.local_dir"}]},
   "ResultPath": "$.Back", "End": true}}})json";

}  // namespace farfield::services::flow::testing
