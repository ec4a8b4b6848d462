//! Access rules (KIP-140, KIP-290): who may do what with which resource.

use std::fmt;

use kohort_protocol::messages::create_acls::{AclCreation, CreateAclsRequest};
use kohort_protocol::messages::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use kohort_protocol::messages::describe_acls::DescribeAclsRequest;

use super::error::{check, unanswered};
use super::{Admin, AdminError, Session};

/// Declares an enum that is a number on the wire, with a variant for numbers of later versions.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// One that this client does not know, by Kafka's number.
            Other(i8),
        }

        impl $name {
            /// Returns Kafka's number.
            pub fn number(self) -> i8 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            /// Returns what Kafka's number stands for.
            pub fn from_number(number: i8) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
        }
    };
}

numbered! {
    /// A kind of resource.
    pub enum ResourceType {
        /// A topic.
        Topic = 2,
        /// A group.
        Group = 3,
        /// The cluster, whose name is `kafka-cluster`.
        Cluster = 4,
        /// A transactional id.
        TransactionalId = 5,
        /// A delegation token.
        DelegationToken = 6,
        /// A user.
        User = 7,
    }
}

numbered! {
    /// How a rule's name is held against a resource's.
    pub enum PatternType {
        /// They are the same, or the rule's is `*`.
        Literal = 3,
        /// The resource's begins with the rule's.
        Prefixed = 4,
    }
}

numbered! {
    /// What is done with a resource.
    pub enum AclOperation {
        /// Everything.
        All = 2,
        /// Reading, and being a member of a group.
        Read = 3,
        /// Writing.
        Write = 4,
        /// Creating.
        Create = 5,
        /// Deleting.
        Delete = 6,
        /// Changing.
        Alter = 7,
        /// Describing.
        Describe = 8,
        /// What brokers do among themselves.
        ClusterAction = 9,
        /// Describing configurations.
        DescribeConfigs = 10,
        /// Changing configurations.
        AlterConfigs = 11,
        /// Writing idempotently.
        IdempotentWrite = 12,
        /// Creating delegation tokens.
        CreateTokens = 13,
        /// Describing delegation tokens.
        DescribeTokens = 14,
        /// Taking part in two-phase commits.
        TwoPhaseCommit = 15,
    }
}

numbered! {
    /// Whether a rule allows or forbids.
    pub enum AclPermission {
        /// It forbids, whatever others allow.
        Deny = 2,
        /// It allows.
        Allow = 3,
    }
}

/// An access rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclRule {
    /// The kind of resource.
    pub resource_type: ResourceType,
    /// The resource's name, the beginning of one, or `*`.
    pub resource_name: String,
    /// Which of these it is.
    pub pattern_type: PatternType,
    /// Whom it is about, such as `User:alice`.
    pub principal: String,
    /// The address it is about, or `*`.
    pub host: String,
    /// What it is about.
    pub operation: AclOperation,
    /// Whether it allows or forbids.
    pub permission: AclPermission,
}

impl AclRule {
    /// Returns a rule that allows `principal` to do `operation` with the resource of this name, from
    /// any address.
    pub fn allow(
        principal: impl Into<String>,
        operation: AclOperation,
        resource_type: ResourceType,
        resource_name: impl Into<String>,
    ) -> Self {
        Self {
            resource_type,
            resource_name: resource_name.into(),
            pattern_type: PatternType::Literal,
            principal: principal.into(),
            host: "*".to_owned(),
            operation,
            permission: AclPermission::Allow,
        }
    }

    /// Makes the rule forbid what it allowed.
    #[must_use]
    pub fn deny(mut self) -> Self {
        self.permission = AclPermission::Deny;
        self
    }

    /// Makes the rule be about all resources whose names begin so.
    #[must_use]
    pub fn prefixed(mut self) -> Self {
        self.pattern_type = PatternType::Prefixed;
        self
    }
}

impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the rule {:?} {} {:?} {:?} `{}` ({:?}) from {}",
            self.permission,
            self.principal,
            self.operation,
            self.resource_type,
            self.resource_name,
            self.pattern_type,
            self.host
        )
    }
}

/// Which rules: those that have all of what is named. The default names nothing: all rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AclFilter {
    /// The kind of resource.
    pub resource_type: Option<ResourceType>,
    /// The name, as the rule has it.
    pub resource_name: Option<String>,
    /// How the rule's name is meant.
    pub pattern: PatternFilter,
    /// Whom the rule is about.
    pub principal: Option<String>,
    /// The address the rule is about.
    pub host: Option<String>,
    /// What the rule is about.
    pub operation: Option<AclOperation>,
    /// Whether it allows or forbids.
    pub permission: Option<AclPermission>,
}

/// How the rule's name is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PatternFilter {
    /// Either way.
    #[default]
    Any,
    /// In any way that applies to the name: itself, `*`, and beginnings of it.
    Match,
    /// In this way.
    Is(PatternType),
}

impl AclFilter {
    /// Narrows to rules for resources of this kind.
    #[must_use]
    pub fn resource_type(mut self, resource_type: ResourceType) -> Self {
        self.resource_type = Some(resource_type);
        self
    }

    /// Narrows to rules with this name.
    #[must_use]
    pub fn resource_name(mut self, name: impl Into<String>) -> Self {
        self.resource_name = Some(name.into());
        self
    }

    /// Narrows to rules whose name is meant so.
    #[must_use]
    pub fn pattern(mut self, pattern: PatternFilter) -> Self {
        self.pattern = pattern;
        self
    }

    /// Narrows to rules about this principal.
    #[must_use]
    pub fn principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    fn pattern_number(&self) -> i8 {
        match self.pattern {
            PatternFilter::Any => ANY,
            PatternFilter::Match => 2,
            PatternFilter::Is(pattern) => pattern.number(),
        }
    }
}

/// The rules that one filter removed, each with its outcome.
pub type DeletedAcls = Vec<(AclRule, Result<(), AdminError>)>;

/// Kafka's number for whichever.
const ANY: i8 = 1;

impl Admin {
    /// Returns the rules that a filter names.
    ///
    /// # Errors
    /// `SECURITY_DISABLED` from a broker without an authorizer.
    pub async fn describe_acls(&self, filter: AclFilter) -> Result<Vec<AclRule>, AdminError> {
        self.run(move |session| {
            let filter = filter.clone();
            async move { session.describe_acls(filter).await }
        })
        .await
    }

    /// Adds rules, each for itself; the results are in the order of the rules.
    ///
    /// # Errors
    /// As [`describe_acls`](Self::describe_acls), for each rule.
    pub async fn create_acls(
        &self,
        rules: Vec<AclRule>,
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        self.run(move |session| {
            let rules = rules.clone();
            async move { session.create_acls(rules).await }
        })
        .await
    }

    /// Removes the rules that filters name, and returns them for each filter, in order.
    ///
    /// # Errors
    /// As [`describe_acls`](Self::describe_acls), for each filter.
    pub async fn delete_acls(
        &self,
        filters: Vec<AclFilter>,
    ) -> Result<Vec<Result<DeletedAcls, AdminError>>, AdminError> {
        self.run(move |session| {
            let filters = filters.clone();
            async move { session.delete_acls(filters).await }
        })
        .await
    }
}

impl Session {
    async fn describe_acls(&self, filter: AclFilter) -> Result<Vec<AclRule>, AdminError> {
        let request = DescribeAclsRequest {
            resource_type_filter: filter.resource_type.map_or(ANY, ResourceType::number),
            pattern_type_filter: filter.pattern_number(),
            resource_name_filter: filter.resource_name,
            principal_filter: filter.principal,
            host_filter: filter.host,
            operation: filter.operation.map_or(ANY, AclOperation::number),
            permission_type: filter.permission.map_or(ANY, AclPermission::number),
        };
        let answer = self.ask_any(&request).await?;
        check(answer.error_code, answer.error_message, || "the access rules".to_owned())?;
        let mut rules = Vec::new();
        for resource in answer.resources {
            for acl in resource.acls {
                rules.push(AclRule {
                    resource_type: ResourceType::from_number(resource.resource_type),
                    resource_name: resource.resource_name.clone(),
                    pattern_type: PatternType::from_number(resource.pattern_type),
                    principal: acl.principal,
                    host: acl.host,
                    operation: AclOperation::from_number(acl.operation),
                    permission: AclPermission::from_number(acl.permission_type),
                });
            }
        }
        Ok(rules)
    }

    async fn create_acls(
        &self,
        rules: Vec<AclRule>,
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        let creation = |rule: &AclRule| AclCreation {
            resource_type: rule.resource_type.number(),
            resource_name: rule.resource_name.clone(),
            resource_pattern_type: rule.pattern_type.number(),
            principal: rule.principal.clone(),
            host: rule.host.clone(),
            operation: rule.operation.number(),
            permission_type: rule.permission.number(),
        };
        let request = CreateAclsRequest { creations: rules.iter().map(creation).collect() };
        let mut answers = self.ask_any(&request).await?.results.into_iter();
        let result = |rule: &AclRule| match answers.next() {
            Some(answer) => check(answer.error_code, answer.error_message, || rule.to_string()),
            None => Err(unanswered(rule.to_string())),
        };
        Ok(rules.iter().map(result).collect())
    }

    async fn delete_acls(
        &self,
        filters: Vec<AclFilter>,
    ) -> Result<Vec<Result<DeletedAcls, AdminError>>, AdminError> {
        let count = filters.len();
        let filter = |filter: AclFilter| DeleteAclsFilter {
            resource_type_filter: filter.resource_type.map_or(ANY, ResourceType::number),
            pattern_type_filter: filter.pattern_number(),
            resource_name_filter: filter.resource_name,
            principal_filter: filter.principal,
            host_filter: filter.host,
            operation: filter.operation.map_or(ANY, AclOperation::number),
            permission_type: filter.permission.map_or(ANY, AclPermission::number),
        };
        let request = DeleteAclsRequest { filters: filters.into_iter().map(filter).collect() };
        let mut answers = self.ask_any(&request).await?.filter_results.into_iter();
        let result = |number: usize| {
            let what = || format!("filter {number} of access rules");
            let answer = answers.next().ok_or_else(|| unanswered(what()))?;
            check(answer.error_code, answer.error_message, what)?;
            let removed = answer.matching_acls.into_iter().map(|acl| {
                let rule = AclRule {
                    resource_type: ResourceType::from_number(acl.resource_type),
                    resource_name: acl.resource_name,
                    pattern_type: PatternType::from_number(acl.pattern_type),
                    principal: acl.principal,
                    host: acl.host,
                    operation: AclOperation::from_number(acl.operation),
                    permission: AclPermission::from_number(acl.permission_type),
                };
                let outcome = check(acl.error_code, acl.error_message, || rule.to_string());
                (rule, outcome)
            });
            Ok(removed.collect())
        };
        Ok((0..count).map(result).collect())
    }
}
