output "source" {
  description = "What trailweave.toml needs to read this; the external id, if there is one, is yours to add"
  value       = <<-EOT
    [[source]]
    name = "trail"
    queue_url = "${aws_sqs_queue.trail.id}"
    location = "s3://${local.bucket}/AWSLogs/"
    buckets = ["${local.bucket}"]
    ${local.who}
  EOT
}

output "queue_url" {
  description = "For trailweave ingest --queue-url, or queue_url in trailweave.toml"
  value       = aws_sqs_queue.trail.id
}

output "dead_letter_queue_url" {
  description = "For trailweave redrive"
  value       = aws_sqs_queue.dead.id
}

output "location" {
  description = "For trailweave replay --source"
  value       = "s3://${local.bucket}/AWSLogs/"
}

output "role_arn" {
  description = "role_arn in trailweave.toml"
  value       = var.identity == "role" ? aws_iam_role.collector[0].arn : null
}

output "user_name" {
  description = "Make its key by aws iam create-access-key --user-name"
  value       = var.identity == "user" ? aws_iam_user.collector[0].name : null
}

output "bucket_policy_to_add" {
  description = "A statement for the policy of a bucket in another account, so that the collector may read it"
  value = jsonencode({
    Sid       = "Trailweave"
    Effect    = "Allow"
    Principal = { AWS = var.identity == "role" ? aws_iam_role.collector[0].arn : aws_iam_user.collector[0].arn }
    Action    = "s3:GetObject"
    Resource  = "${local.bucket_arn}/*"
  })
}

output "key_policy_to_add" {
  description = "A statement for the policy of a key in another account, so that the collector may decrypt"
  value = local.has_key ? jsonencode({
    Sid       = "Trailweave"
    Effect    = "Allow"
    Principal = { AWS = var.identity == "role" ? aws_iam_role.collector[0].arn : aws_iam_user.collector[0].arn }
    Action    = "kms:Decrypt"
    Resource  = "*"
  }) : null
}

output "notification_to_add" {
  description = "For aws s3api put-bucket-notification-configuration of a bucket that exists"
  value = (
    var.notification == "s3" ? jsonencode({
      QueueConfigurations = [{ QueueArn = aws_sqs_queue.trail.arn, Events = ["s3:ObjectCreated:*"] }]
    }) :
    var.notification == "sns" ? jsonencode({
      TopicConfigurations = [{ TopicArn = aws_sns_topic.trail[0].arn, Events = ["s3:ObjectCreated:*"] }]
    }) : jsonencode({ EventBridgeConfiguration = {} })
  )
}
