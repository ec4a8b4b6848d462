//! DescribeAcls (key 29), CreateAcls (key 30) and DeleteAcls (key 31), versions 1–3: access rules.
//!
//! * 2 is flexible; 3 knows users as resources.
//! * There is no authorizer, so every request is answered with SECURITY_DISABLED, as Kafka does
//!   without one: anybody may do anything, and a rule that is kept and not enforced would lie.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_acls::AclCreationResult;
use kohort_protocol::messages::delete_acls::DeleteAclsFilterResult;
use kohort_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse,
};
use std::sync::Arc;

pub(crate) fn describe(_: &Arc<Node>, context: Context, _: DescribeAclsRequest) -> Answer {
    context.answer(&DescribeAclsResponse {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some("this broker has no authorizer, so it keeps no ACLs".to_owned()),
        ..DescribeAclsResponse::default()
    })
}

pub(crate) fn create(_: &Arc<Node>, context: Context, request: CreateAclsRequest) -> Answer {
    let refused = AclCreationResult {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NO_AUTHORIZER.to_owned()),
    };
    let results = vec![refused; request.creations.len()];
    context.answer(&CreateAclsResponse { results, ..CreateAclsResponse::default() })
}

pub(crate) fn delete(_: &Arc<Node>, context: Context, request: DeleteAclsRequest) -> Answer {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NO_AUTHORIZER.to_owned()),
        ..DeleteAclsFilterResult::default()
    };
    let filter_results = vec![refused; request.filters.len()];
    context.answer(&DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() })
}

const NO_AUTHORIZER: &str = "this broker has no authorizer, so it keeps no ACLs";
